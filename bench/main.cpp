// flipside_bench [Google Benchmark's options]   the benchmarks
// flipside_bench --limits                       what the machine allows, and the share reached
// flipside_bench --operators SIZE BATCH float32|bfloat16    where a training step's time goes
// flipside_bench --memory SIZE                  memory and page faults over many steps and images

#include <benchmark/benchmark.h>

#include <cstdlib>
#include <string>

#include "flipside/core/device.h"
#include "tables.h"

int main(int argc, char** argv) {
  flipside::configure_runtime();
  const std::string mode = argc > 1 ? argv[1] : "";
  if (mode == "--limits") {
    flipside::print_limits();
    return 0;
  }
  if (mode == "--memory" && argc == 3) {
    flipside::print_memory(std::atoll(argv[2]));
    return 0;
  }
  if (mode == "--operators" && argc == 5) {
    flipside::print_operators(std::atoll(argv[2]), std::atoll(argv[3]),
                              argv[4] == std::string("bfloat16"));
    return 0;
  }
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return 0;
}
