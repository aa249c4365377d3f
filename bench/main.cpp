#include <benchmark/benchmark.h>

#include "flipside/core/device.h"

int main(int argc, char** argv) {
  flipside::configure_runtime();
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return 0;
}
