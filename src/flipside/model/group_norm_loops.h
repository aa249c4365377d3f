#pragma once

#include "flipside/model/group_norm_kernels.h"
#include "flipside/model/lanes.h"

// The loops behind `group_norm_kernels.h`, for files that are compiled for different processors.

namespace flipside::kernels {
namespace {

/// In one pass, by what is left of each value without the first pixel's, which is near the mean
/// where it matters: where the mean is far larger than the deviations from it.
template <typename Value>
struct Moments {
  const Block<Value>& block;
  float *mean, *squares;

  template <typename Width, int V>
  FLIPSIDE_INLINE void tile(int64_t c) const {
    using Floats = typename Width::Floats;
    constexpr int kPixels = V < 4 ? 4 / V : 1;  // at once: a sum need not wait for the last one
    const auto pixel = [&](int64_t p) FLIPSIDE_INLINED { return block.x + p * block.channels + c; };
    Floats first[V], sum[kPixels][V] = {}, square[kPixels][V] = {};
    for (int v = 0; v < V; ++v) first[v] = load_as<Width>(pixel(0) + v * Width::kCount);
    const auto add = [&](const Value* x, int i) FLIPSIDE_INLINED {
      for (int v = 0; v < V; ++v) {
        const Floats rest = load_as<Width>(x + v * Width::kCount) - first[v];
        sum[i][v] += rest;
        square[i][v] += rest * rest;
      }
    };
    int64_t p = 0;
    for (; p + kPixels <= block.pixels; p += kPixels)
      for (int i = 0; i < kPixels; ++i) add(pixel(p + i), i);
    for (; p < block.pixels; ++p) add(pixel(p), 0);

    const auto count = static_cast<float>(block.pixels);
    for (int v = 0; v < V; ++v) {
      for (int i = 1; i < kPixels; ++i) {
        sum[0][v] += sum[i][v];
        square[0][v] += square[i][v];
      }
      const Floats average = sum[0][v] / count, centered = square[0][v] - sum[0][v] * average;
      store_as<Width>(mean + c + v * Width::kCount, first[v] + average);
      store_as<Width>(squares + c + v * Width::kCount, centered > 0 ? centered : centered * 0);
    }
  }
};

/// One tile's share of an `Affine`, in registers.
template <typename Width, int V>
struct AffineTile {
  using Floats = typename Width::Floats;
  Floats center[V], scale[V], bias[V];
  float slope;

  FLIPSIDE_INLINE AffineTile(const Affine& affine, int64_t c) : slope(affine.slope) {
    for (int v = 0; v < V; ++v) {
      center[v] = load_as<Width>(affine.center + c + v * Width::kCount);
      scale[v] = load_as<Width>(affine.scale + c + v * Width::kCount);
      bias[v] = load_as<Width>(affine.bias + c + v * Width::kCount);
    }
  }

  /// x - center.
  template <typename Value>
  FLIPSIDE_INLINE Floats deviation(const Value* x, int v) const {
    return load_as<Width>(x) - center[v];
  }
  /// t.
  FLIPSIDE_INLINE Floats before_activation(const Floats& deviation, int v) const {
    return deviation * scale[v] + bias[v];
  }
  /// g.
  template <typename Value>
  FLIPSIDE_INLINE Floats gradient(const Floats& deviation, const Value* dy, int v) const {
    const Floats after = load_as<Width>(dy);
    return before_activation(deviation, v) > 0 ? after : after * slope;
  }
};

template <typename Value>
struct NormaliseAct {
  const Block<Value>& block;
  const Affine& affine;
  Value* y;

  template <typename Width, int V>
  FLIPSIDE_INLINE void tile(int64_t c) const {
    using Floats = typename Width::Floats;
    const AffineTile<Width, V> a(affine, c);
    for (int64_t p = 0; p < block.pixels; ++p)
      for (int v = 0; v < V; ++v) {
        const int64_t i = p * block.channels + c + v * Width::kCount;
        const Floats t = a.before_activation(a.deviation(block.x + i, v), v);
        store_as<Width>(y + i, t > 0 ? t : t * a.slope);
      }
  }
};

template <typename Value>
struct GradientSums {
  const Block<Value>& block;
  const Affine& affine;
  const Value* dy;
  float *sum, *centered_sum;

  template <typename Width, int V>
  FLIPSIDE_INLINE void tile(int64_t c) const {
    using Floats = typename Width::Floats;
    const AffineTile<Width, V> a(affine, c);
    Floats plain[V] = {}, centered[V] = {};
    for (int64_t p = 0; p < block.pixels; ++p)
      for (int v = 0; v < V; ++v) {
        const int64_t i = p * block.channels + c + v * Width::kCount;
        const Floats deviation = a.deviation(block.x + i, v);
        const Floats g = a.gradient(deviation, dy + i, v);
        plain[v] += g;
        centered[v] += g * deviation;
      }
    for (int v = 0; v < V; ++v) {
      store_as<Width>(sum + c + v * Width::kCount, plain[v]);
      store_as<Width>(centered_sum + c + v * Width::kCount, centered[v]);
    }
  }
};

template <typename Value>
struct InputGradientKernel {
  const Block<Value>& block;
  const Affine& affine;
  const InputGradient& terms;
  const Value* dy;
  Value* dx;

  template <typename Width, int V>
  FLIPSIDE_INLINE void tile(int64_t c) const {
    using Floats = typename Width::Floats;
    const AffineTile<Width, V> a(affine, c);
    Floats slope[V], tilt[V], shift[V];
    for (int v = 0; v < V; ++v) {
      slope[v] = load_as<Width>(terms.slope + c + v * Width::kCount);
      tilt[v] = load_as<Width>(terms.tilt + c + v * Width::kCount);
      shift[v] = load_as<Width>(terms.shift + c + v * Width::kCount);
    }
    for (int64_t p = 0; p < block.pixels; ++p)
      for (int v = 0; v < V; ++v) {
        const int64_t i = p * block.channels + c + v * Width::kCount;
        const Floats deviation = a.deviation(block.x + i, v);
        const Floats g = a.gradient(deviation, dy + i, v);
        store_as<Width>(dx + i, g * slope[v] + deviation * tilt[v] + shift[v]);
      }
  }
};

}  // namespace
}  // namespace flipside::kernels
