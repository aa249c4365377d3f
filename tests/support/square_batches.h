#pragma once

#include "flipside/core/random.h"
#include "flipside/data/dataset.h"

namespace flipside {

/// Networks and a schedule for batches of `square_batch`.
inline Config square_config() {
  Config config;
  config.data.size = 16;
  config.model.generator_widths = {8, 16};
  config.model.discriminator_widths = {8, 16};
  config.model.residual_blocks = 1;
  config.train.steps = 40;
  config.train.discriminator_warmup = 3;
  config.train.batch = 6;
  config.train.device = DeviceChoice::kCpu;  // the same bits everywhere, and in reach of the tests
  return config;
}

/// Dark squares in class 0, none in class 1, at a place that follows from `step`.
inline Batch square_batch(int64_t step, int64_t n = 6) {
  Rng rng({99, uint64_t(step)});
  Batch batch;
  batch.images = torch::empty({n, 3, 16, 16}).contiguous(kChannelsLast);
  batch.labels = torch::arange(n, torch::kInt64).remainder(2);
  batch.masks = torch::zeros({n, 1, 16, 16});
  for (int64_t i = 0; i < n; ++i) {
    batch.images[i].fill_(rng.uniform(0.5, 0.8));
    if (batch.labels[i].item<int64_t>() != 0) continue;
    const int64_t y = rng.below(12), x = rng.below(12);
    batch.images[i].slice(1, y, y + 4).slice(2, x, x + 4).fill_(0.1);
    batch.masks[i].slice(1, y, y + 4).slice(2, x, x + 4).fill_(1.0);
  }
  return batch;
}

}  // namespace flipside
