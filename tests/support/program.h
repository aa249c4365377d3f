#pragma once

#include <sys/wait.h>

#include <cstdlib>
#include <string>

#include "support/temp_folder.h"

namespace flipside {

/// What a run of the program left behind.
struct ProgramResult {
  int exit_code = -1;
  std::string out, err;
};

/// Runs `flipside ARGUMENTS` through the shell and waits.
inline ProgramResult run_program(const std::string& arguments) {
  const TempFolder streams;
  const std::string command = std::string(FLIPSIDE_PROGRAM) + " " + arguments + " > " +
                              (streams / "out").string() + " 2> " + (streams / "err").string();
  const int status = std::system(command.c_str());
  return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, read_file(streams / "out"),
          read_file(streams / "err")};
}

/// Networks and schedule so small that a training takes seconds.
inline const char* const kTinyTraining =
    " --size 32 --generator-widths 8,16 --discriminator-widths 8,16 --residual-blocks 1"
    " --steps 24 --discriminator-warmup 8 --batch 4 --validate-every 16 --checkpoint-every 4"
    " --threads 1";

}  // namespace flipside
