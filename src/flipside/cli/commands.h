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

/// Writes a result to standard output, whole: `Error(kIo)` where it cannot be written.
void print_result(const std::string& text);

// The option --json of the commands that measure: empty, "-" for standard output in place of the
// text, or a file.

/// Throws `Error(kIo)` where that file could not be written: before the work.
void require_writable_result(const std::string& json_file);
/// Writes the JSON to the file, and the text, or else the JSON, to standard output.
void put_result(const std::string& json_file, const std::string& json, const std::string& text);

}  // namespace flipside
