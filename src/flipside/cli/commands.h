#pragma once

namespace CLI {
class App;
}

namespace flipside {

// Each registers one subcommand; its callback does the work and throws `Error`.
void add_attack_command(CLI::App& app);
void add_benchmark_command(CLI::App& app);
void add_compare_command(CLI::App& app);
void add_data_command(CLI::App& app);
void add_evaluate_command(CLI::App& app);
void add_explain_command(CLI::App& app);
void add_report_command(CLI::App& app);
void add_synth_command(CLI::App& app);
void add_train_command(CLI::App& app);

/// All of them.
void add_commands(CLI::App& app);

}  // namespace flipside
