#pragma once

#include "flipside/model/image_conv_kernels.h"

// The loops behind `image_conv_kernels.h` that see the activations, for files that are compiled for
// different processors.

namespace flipside::kernels {
namespace {

constexpr int64_t kPixelsAtOnce = 8;  // their sums fit the registers

template <typename Value>
struct ImageConvRow {
  const float* const* rows;
  const float *weights, *bias;
  float slope;
  int64_t width, channels;
  Value* y;

  template <typename Width>
  FLIPSIDE_INLINE void tile(int64_t c) const {
    int64_t p = 0;
    for (; p + kPixelsAtOnce <= width; p += kPixelsAtOnce) pixels<Width, kPixelsAtOnce>(p, c);
    for (; p < width; ++p) pixels<Width, 1>(p, c);
  }

 private:
  template <typename Width, int P>
  FLIPSIDE_INLINE void pixels(int64_t p, int64_t c) const {
    typename Width::Floats sum[P];
    for (int i = 0; i < P; ++i) sum[i] = load_as<Width>(bias + c);
    const float* weight = weights + c;
    for (int row = 0; row < 3; ++row) {
      const float* x = rows[row] + p * kColours;
      for (int tap = 0; tap < kRowTaps; ++tap, weight += channels) {
        const auto w = load_as<Width>(weight);
        for (int i = 0; i < P; ++i) sum[i] += x[i * kColours + tap] * w;
      }
    }
    for (int i = 0; i < P; ++i)
      store_as<Width>(y + (p + i) * channels + c, sum[i] > 0 ? sum[i] : sum[i] * slope);
  }
};

template <typename Value>
struct UndoActivation {
  const Value *dy, *y;
  float slope;
  float* dz;

  template <typename Width>
  FLIPSIDE_INLINE void tile(int64_t i) const {
    const auto g = load_as<Width>(dy + i);
    store_as<Width>(dz + i, load_as<Width>(y + i) > 0 ? g : g * slope);
  }
};

}  // namespace
}  // namespace flipside::kernels
