#pragma once

#include "flipside/model/average_and_max_kernels.h"

// The loops behind `average_and_max_kernels.h`, for files that are compiled for different
// processors.

namespace flipside::kernels {
namespace {

template <typename Value>
struct AverageAndMax {
  const Block<Value>& sample;
  float *average, *most;

  template <typename Width>
  FLIPSIDE_INLINE void tile(int64_t c) const {
    using Floats = typename Width::Floats;
    const Value* x = sample.x + c;
    Floats sum = {}, greatest = load_as<Width>(x);
    for (int64_t p = 0; p < sample.pixels; ++p, x += sample.channels) {
      const Floats value = load_as<Width>(x);
      sum += value;
      greatest = value > greatest ? value : greatest;
    }
    store_as<Width>(average + c, sum / static_cast<float>(sample.pixels));
    store_as<Width>(most + c, greatest);
  }
};

template <typename Value>
struct AverageAndMaxGradient {
  const Block<Value>& sample;
  const PooledGradients& pooled;
  Value* dx;

  template <typename Width>
  FLIPSIDE_INLINE void tile(int64_t c) const {
    using Floats = typename Width::Floats;
    const Floats most = load_as<Width>(pooled.most + c), none = {};
    Floats reaching = {};
    const Value* x = sample.x + c;
    for (int64_t p = 0; p < sample.pixels; ++p, x += sample.channels)
      reaching += load_as<Width>(x) == most ? none + 1 : none;
    const Floats everywhere =
        load_as<Width>(pooled.daverage + c) / static_cast<float>(sample.pixels);
    const Floats there = everywhere + load_as<Width>(pooled.dmost + c) / reaching;
    x = sample.x + c;
    Value* to = dx + c;
    for (int64_t p = 0; p < sample.pixels; ++p, x += sample.channels, to += sample.channels)
      store_as<Width>(to, load_as<Width>(x) == most ? there : everywhere);
  }
};

}  // namespace
}  // namespace flipside::kernels
