// Time of one training step, in images per second, on random images: the networks, losses and
// optimiser of the defaults, without the loader. On the GPU where there is one.

#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>

#include "flipside/core/device.h"
#include "subjects.h"

namespace flipside {
namespace {

void measure_steps(benchmark::State& state, const Config& config) {
  const int64_t size = state.range(0), batch = state.range(1);
  const auto trainer = make_trainer(bench_model(config));
  const Batch data = random_batch(size, batch);
  for (int i = 0; i < 3; ++i) trainer->step(data);
  const int64_t faults = minor_page_faults();
  std::vector<double> times;
  for (auto _ : state) {
    const auto start = std::chrono::steady_clock::now();
    trainer->step(data);
    times.push_back(
        std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start)
            .count());
  }
  std::nth_element(times.begin(), times.begin() + times.size() / 2, times.end());
  state.counters["median_ms"] = times[times.size() / 2];
  const auto steps = static_cast<double>(state.iterations());
  state.counters["img/s"] =
      benchmark::Counter(steps * static_cast<double>(batch), benchmark::Counter::kIsRate);
  state.counters["faults/step"] = static_cast<double>(minor_page_faults() - faults) / steps;
  state.counters["MB"] = resident_megabytes();
  state.counters["peak_MB"] = static_cast<double>(peak_memory()) / 1e6;
}

Config config_of(const benchmark::State& state, Precision precision = Precision::kFloat32) {
  return bench_config(state.range(0), state.range(1), precision);
}

void train_step(benchmark::State& state) { measure_steps(state, config_of(state)); }
void train_step_bfloat16(benchmark::State& state) {
  if (!has_fast_bfloat16(resolve_device(DeviceChoice::kAuto)))
    return state.SkipWithError("the device has no bfloat16");
  measure_steps(state, config_of(state, Precision::kBFloat16));
}

/// What robust training (8) costs: half of the images attacked by three steps of PGD.
void robust_step(benchmark::State& state) {
  Config config = config_of(state);
  config.loss.robust_fraction = 0.5;
  measure_steps(state, config);
}
void classifier_step(benchmark::State& state) {
  Config config = config_of(state);
  config.model.kind = ModelKind::kClassifier;
  measure_steps(state, config);
}
void classifier_robust_step(benchmark::State& state) {
  Config config = config_of(state);
  config.model.kind = ModelKind::kClassifier;
  config.loss.robust_fraction = 0.5;
  measure_steps(state, config);
}

void sizes(benchmark::internal::Benchmark* benchmark) {
  benchmark->ArgNames({"size", "batch"})->Args({64, 32});
  if (has_cuda())
    benchmark->Args({128, 32})->Args({256, 32});
  else
    benchmark->Args({64, 16})->Args({128, 16});
  benchmark->Unit(benchmark::kMillisecond)->MeasureProcessCPUTime()->UseRealTime();
}
BENCHMARK(train_step)->Apply(sizes);
BENCHMARK(train_step_bfloat16)->Apply(sizes);
BENCHMARK(robust_step)->Apply(sizes);
BENCHMARK(classifier_step)->Apply(sizes);
BENCHMARK(classifier_robust_step)->Apply(sizes);

}  // namespace
}  // namespace flipside
