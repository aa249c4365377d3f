#include "flipside/cli/commands.h"

namespace flipside {

void add_commands(CLI::App& app) {
  add_synth_command(app);
  add_data_command(app);
  add_train_command(app);
  add_evaluate_command(app);
  add_explain_command(app);
  add_attack_command(app);
  add_compare_command(app);
  add_report_command(app);
  add_benchmark_command(app);
}

}  // namespace flipside
