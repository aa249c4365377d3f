#include <CLI/CLI.hpp>

#include "flipside/cli/commands.h"
#include "flipside/core/error.h"
#include "flipside/core/file.h"
#include "flipside/core/launch.h"
#include "flipside/report/benchmark.h"

namespace flipside {

void add_benchmark_command(CLI::App& app) {
  struct Arguments {
    std::string file, out;
    int64_t seeds = 3;
    Shard shard;
  };
  auto* command = app.add_subcommand(
      "benchmark",
      "Train and measure several methods over several seeds; goes on where it stopped");
  auto arguments = std::make_shared<Arguments>();
  command->add_option("CONFIG", arguments->file, "TOML: [benchmark], [common], [method]...")
      ->required();
  command->add_option("--out", arguments->out, "folder of the runs and the table")
      ->required()
      ->type_name("DIR");
  command->add_option("--seeds", arguments->seeds, "trainings per method (1 to 100; default 3)")
      ->check(CLI::Range(1, 100))
      ->type_name("");
  add_shard_option(
      *command, arguments->shard,
      "train and measure this share of the runs only (1/4 to 4/4); afterwards the same "
      "command without it writes the table");
  command->callback([arguments] {
    if (read_launch().size > 1)
      fail(ErrorCode::kUsage, "benchmark runs in one process: start it without a launcher");
    run_benchmark(load_benchmark(arguments->file), arguments->seeds, arguments->out,
                  arguments->shard);
    if (!arguments->shard.is_whole()) return;
    print_result(read_file(fs::path(arguments->out) / "benchmark.txt"));
  });
}

}  // namespace flipside
