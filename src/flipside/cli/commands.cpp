#include "flipside/cli/commands.h"

#include <CLI/CLI.hpp>
#include <cerrno>
#include <cstdio>
#include <cstring>

#include "flipside/core/error.h"
#include "flipside/core/file.h"

namespace flipside {

void add_commands(CLI::App& app) {
  add_synth_command(app);
  add_data_command(app);
  add_train_command(app);
  add_evaluate_command(app);
  add_explain_command(app);
  add_attack_command(app);
  add_compare_command(app);
  add_calibrate_command(app);
  add_distill_command(app);
  add_report_command(app);
  add_benchmark_command(app);
}

void add_shard_option(CLI::App& command, Shard& shard, const std::string& help) {
  command
      .add_option_function<std::string>(
          "--shard", [&shard](const std::string& text) { shard = parse_shard(text); }, help)
      ->type_name("I/N");
}

void print_result(const std::string& text) {
  if (std::fputs(text.c_str(), stdout) < 0 || std::fflush(stdout) != 0)
    fail(ErrorCode::kIo, "standard output: could not be written: {}", std::strerror(errno));
}

void require_writable_result(const std::string& json_file) {
  if (!json_file.empty() && json_file != "-") require_writable(json_file);
}

void put_result(const std::string& json_file, const std::string& json, const std::string& text) {
  print_result(json_file == "-" ? json : text);
  if (!json_file.empty() && json_file != "-") atomic_write(json_file, json);
}

}  // namespace flipside
