#pragma once

#include "flipside/model/lanes.h"

namespace flipside::kernels {

// The loops of `average_and_max` over one sample. Everything per channel is an array of `channels`
// floats.

void average_and_max(const Block<float>& sample, float* average, float* most);
void average_and_max(const Block<BFloatBits>& sample, float* average, float* most);

/// Gradients of the average and of the maximum, which the pixels that reach it share evenly.
struct PooledGradients {
  const float *most, *daverage, *dmost;
};
void average_and_max_gradient(const Block<float>& sample, const PooledGradients& pooled, float* dx);
void average_and_max_gradient(const Block<BFloatBits>& sample, const PooledGradients& pooled,
                              BFloatBits* dx);

}  // namespace flipside::kernels
