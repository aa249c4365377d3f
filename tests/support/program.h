#pragma once

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <stdexcept>
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

/// `flipside ARGUMENTS` running beside the test, with environment `variables` as "NAME=VALUE ...".
class StartedProgram {
 public:
  StartedProgram(const std::string& arguments, const std::string& variables) {
    const std::string command = "exec env " + variables + " " + FLIPSIDE_PROGRAM + " " + arguments +
                                " > " + (streams_ / "out").string() + " 2> " +
                                (streams_ / "err").string();
    process_ = fork();
    if (process_ < 0) throw std::runtime_error("fork failed");
    if (process_ > 0) return;
    execl("/bin/sh", "sh", "-c", command.c_str(), static_cast<char*>(nullptr));
    _exit(127);
  }
  ~StartedProgram() {
    if (process_ <= 0) return;
    kill(SIGKILL);
    wait();
  }
  StartedProgram(const StartedProgram&) = delete;
  StartedProgram& operator=(const StartedProgram&) = delete;

  void kill(int signal = SIGKILL) const { ::kill(process_, signal); }
  /// The exit code is -1 for a process that a signal ended.
  ProgramResult wait() {
    int status = 0;
    waitpid(process_, &status, 0);
    process_ = 0;
    return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, read_file(streams_ / "out"),
            read_file(streams_ / "err")};
  }

 private:
  TempFolder streams_;
  pid_t process_ = 0;
};

/// Networks and schedule so small that a training takes seconds.
inline const char* const kTinyTraining =
    " --size 32 --generator-widths 8,16 --discriminator-widths 8,16 --residual-blocks 1"
    " --steps 24 --discriminator-warmup 8 --batch 4 --validate-every 16 --checkpoint-every 4"
    " --threads 1";

}  // namespace flipside
