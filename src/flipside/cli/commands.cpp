#include "flipside/cli/commands.h"

#include <CLI/CLI.hpp>

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

}  // namespace flipside
