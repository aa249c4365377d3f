// Time from images in memory to class, counterfactual, saliency and mask, and of loading a model,
// with the networks of the defaults, untrained.

#include <benchmark/benchmark.h>
#include <fmt/format.h>
#include <unistd.h>

#include "flipside/core/device.h"
#include "flipside/explain/explainer.h"
#include "subjects.h"

namespace flipside {
namespace {

/// Whether images and counterfactuals are surely of the target class. Where they are not, they are
/// asked for again in the other views, and counterfactuals are taken further.
enum class Answers { kSure, kUnsure };

void explain(benchmark::State& state, bool average_views, Precision precision,
             Answers answers = Answers::kSure) {
  const int64_t size = state.range(0), batch = state.range(1);
  Model model = bench_model(size, batch, Precision::kFloat32);
  if (answers == Answers::kSure) {  // an untrained model is unsure of everything
    const torch::NoGradGuard no_grad;
    model.discriminator->named_parameters()["head.bias"][model.reference_class] += 20;
  }
  model.config.explain.average_views = average_views;
  model.config.explain.generator_precision = precision;
  model.freeze();  // as a loaded one is
  const Explainer explainer(model);
  const Tensor images = random_batch(size, batch).images;
  // The dear case, whatever the untrained model predicts: other targets are never averaged.
  const Tensor targets = torch::full({batch}, model.reference_class, torch::kInt64);
  for (int i = 0; i < 3; ++i) explainer.explain(images, targets);
  const int64_t faults = minor_page_faults();
  for (auto _ : state) benchmark::DoNotOptimize(explainer.explain(images, targets));
  const auto runs = static_cast<double>(state.iterations());
  state.counters["img/s"] =
      benchmark::Counter(runs * static_cast<double>(batch), benchmark::Counter::kIsRate);
  state.counters["faults/run"] = static_cast<double>(minor_page_faults() - faults) / runs;
}

void explain_sizes(benchmark::internal::Benchmark* benchmark) {
  benchmark->ArgNames({"size", "batch"})->Args({64, 1})->Args({64, 32})->Args({128, 1});
  benchmark->Unit(benchmark::kMillisecond)->MeasureProcessCPUTime()->UseRealTime();
}
BENCHMARK_CAPTURE(explain, eight_views, true, Precision::kAuto)->Apply(explain_sizes);
BENCHMARK_CAPTURE(explain, eight_views_asked_again, true, Precision::kAuto, Answers::kUnsure)
    ->Apply(explain_sizes);
BENCHMARK_CAPTURE(explain, eight_views_float32, true, Precision::kFloat32)->Apply(explain_sizes);
BENCHMARK_CAPTURE(explain, one_view, false, Precision::kAuto)->Apply(explain_sizes);
BENCHMARK_CAPTURE(explain, one_view_float32, false, Precision::kFloat32)->Apply(explain_sizes);

void model_loading(benchmark::State& state) {
  const fs::path path = fs::temp_directory_path() /
                        fmt::format("flipside_bench_{}.safetensors", static_cast<int>(getpid()));
  save_checkpoint(path, bench_model(64, 16, Precision::kFloat32));
  for (auto _ : state) benchmark::DoNotOptimize(load_model(path));
  fs::remove(path);
}
BENCHMARK(model_loading)->Unit(benchmark::kMillisecond)->UseRealTime();

}  // namespace
}  // namespace flipside
