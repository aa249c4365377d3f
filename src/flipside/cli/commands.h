#pragma once

#include <string>

#include "flipside/core/shard.h"

namespace CLI {
class App;
}

namespace flipside {

// Each registers one subcommand; its callback does the work and throws `Error`.
void add_attack_command(CLI::App& app);
void add_benchmark_command(CLI::App& app);
void add_calibrate_command(CLI::App& app);
void add_compare_command(CLI::App& app);
void add_data_command(CLI::App& app);
void add_distill_command(CLI::App& app);
void add_evaluate_command(CLI::App& app);
void add_explain_command(CLI::App& app);
void add_report_command(CLI::App& app);
void add_synth_command(CLI::App& app);
void add_train_command(CLI::App& app);

/// All of them.
void add_commands(CLI::App& app);

/// The option --shard I/N of a subcommand whose work can be cut.
void add_shard_option(CLI::App& command, Shard& shard, const std::string& help);

}  // namespace flipside
