// Images per second of the loader alone, beside those of the training step: from the cache of
// decoded pictures (augmentation alone), and with every file decoded again each time (no cache).

#include <benchmark/benchmark.h>
#include <stdlib.h>

#include <map>
#include <memory>

#include "flipside/data/loader.h"
#include "flipside/data/synth/synth.h"

namespace flipside {
namespace {

/// A generated data set in a folder of its own, removed at the end.
class BenchData {
 public:
  explicit BenchData(int64_t size) {
    std::string name = (fs::temp_directory_path() / "flipside_bench_XXXXXX").string();
    TORCH_CHECK(mkdtemp(name.data()) != nullptr, "no temporary folder");
    root_ = name;
    synth::SynthOptions options;
    options.count = 200;
    options.size = static_cast<int>(size);
    synth::write_data_set(root_ / "data", options);
  }
  ~BenchData() {
    std::error_code ignored;
    fs::remove_all(root_, ignored);
  }
  fs::path path() const { return root_ / "data"; }

 private:
  fs::path root_;
};

/// Made when it is first asked for.
const BenchData& data_of(int64_t size) {
  static std::map<int64_t, std::unique_ptr<BenchData>> made;
  auto& data = made[size];
  if (!data) data = std::make_unique<BenchData>(size);
  return *data;
}

/// `state`: size, batch, workers. CPU time is that of all threads.
void measure_loader(benchmark::State& state, int64_t cache_mb) {
  const int64_t batch = state.range(1);
  DataConfig config;
  config.size = state.range(0);
  config.cache_mb = cache_mb;
  config.workers = state.range(2);
  const ImageFolder folder = scan_image_folder(data_of(state.range(0)).path(), config);
  TrainLoader loader(folder, Split::kTrain, config, batch, /*seed=*/1);
  for (int i = 0; i < 8; ++i) loader.next();  // beyond what is made ahead
  for (auto _ : state) benchmark::DoNotOptimize(loader.next());
  const auto images = static_cast<double>(state.iterations() * batch);
  state.counters["img/s"] = benchmark::Counter(images, benchmark::Counter::kIsRate);
}

void loader_cached(benchmark::State& state) { measure_loader(state, /*cache_mb=*/2048); }
void loader_decoding(benchmark::State& state) { measure_loader(state, /*cache_mb=*/0); }

void cases(benchmark::internal::Benchmark* benchmark) {
  benchmark->ArgNames({"size", "batch", "workers"});
  for (const int64_t workers : {0, 1, 2})
    benchmark->Args({64, 16, workers})->Args({128, 16, workers});
  benchmark->Unit(benchmark::kMicrosecond)->MeasureProcessCPUTime()->UseRealTime();
}
BENCHMARK(loader_cached)->Apply(cases);
BENCHMARK(loader_decoding)->Apply(cases);

}  // namespace
}  // namespace flipside
