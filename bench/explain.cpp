// Time from images in memory to class, counterfactual, saliency and mask, with the networks of the
// defaults, untrained.

#include <benchmark/benchmark.h>

#include "flipside/explain/explainer.h"

namespace flipside {
namespace {

void explain(benchmark::State& state) {
  const int64_t size = state.range(0), batch = state.range(1);
  Config config;
  config.data.size = size;
  const Explainer explainer(make_model(config, {"crack", "intact"}, /*reference_class=*/1));
  const Tensor images = torch::rand({batch, 3, size, size}).contiguous(kChannelsLast);
  for (int i = 0; i < 3; ++i) explainer.explain(images);
  for (auto _ : state) benchmark::DoNotOptimize(explainer.explain(images));
  state.counters["img/s"] = benchmark::Counter(static_cast<double>(state.iterations() * batch),
                                               benchmark::Counter::kIsRate);
}

BENCHMARK(explain)
    ->ArgNames({"size", "batch"})
    ->Args({64, 1})
    ->Args({64, 32})
    ->Args({128, 1})
    ->Unit(benchmark::kMillisecond)
    ->MeasureProcessCPUTime()
    ->UseRealTime();

}  // namespace
}  // namespace flipside
