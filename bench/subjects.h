#pragma once

#include <unistd.h>

#include <fstream>

#include "flipside/train/trainer.h"

namespace flipside {

/// What the benchmarks measure: the networks and losses of the defaults on random images, in the
/// joint steps, with all penalties.
inline Config bench_config(int64_t size, int64_t batch, Precision precision) {
  Config config;
  config.train.precision = precision;
  config.data.size = size;
  config.train.batch = batch;
  config.train.discriminator_warmup = 0;
  config.explain.average_views = false;
  config.explain.generator_precision = precision;
  return config;
}

inline Model bench_model(const Config& config) {
  return make_model(config, {"crack", "intact"}, /*reference_class=*/1);
}
inline Model bench_model(int64_t size, int64_t batch, Precision precision) {
  return bench_model(bench_config(size, batch, precision));
}

inline Batch random_batch(int64_t size, int64_t batch) {
  Batch data;
  data.images = torch::rand({batch, 3, size, size}).contiguous(kChannelsLast);
  data.labels = torch::arange(batch, torch::kInt64).remainder(2);
  data.indices = torch::arange(batch, torch::kInt64);
  return data;
}

/// Resident memory of this process now, in MB.
inline double resident_megabytes() {
  int64_t whole = 0, resident = 0;
  std::ifstream("/proc/self/statm") >> whole >> resident;
  return 1e-6 * static_cast<double>(resident * sysconf(_SC_PAGESIZE));
}

}  // namespace flipside
