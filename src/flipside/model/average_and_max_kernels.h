#pragma once

#include "flipside/model/lanes.h"

namespace flipside::kernels {

// The loops of `average_and_max` over one sample: `pixels` rows of `channels` values, a multiple of
// kLanes; values are float, or bfloat16 (as its bits), and computed with as float. Everything per
// channel is an array of `channels` floats.

template <typename Value>
struct Pixels {
  const Value* x;
  int64_t pixels, channels;
};

void average_and_max(const Pixels<float>& sample, float* average, float* most);
void average_and_max(const Pixels<BFloatBits>& sample, float* average, float* most);

/// Gradients of the average and of the maximum, which the pixels that reach it share evenly.
struct PooledGradients {
  const float *most, *daverage, *dmost;
};
void average_and_max_gradient(const Pixels<float>& sample, const PooledGradients& pooled,
                              float* dx);
void average_and_max_gradient(const Pixels<BFloatBits>& sample, const PooledGradients& pooled,
                              BFloatBits* dx);

}  // namespace flipside::kernels
