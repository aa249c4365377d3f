#pragma once

#include "flipside/model/upsample_kernels.h"

// The loops behind `upsample_kernels.h`, for files that are compiled for different processors.

namespace flipside::kernels {
namespace {

constexpr float kNear = 0.75F, kFar = 0.25F;

template <typename Value>
struct UpsampleRow {
  const Value *near, *far;
  int64_t width, channels, stride;
  Value* out;

  template <typename Width, int V>
  FLIPSIDE_INLINE void tile(int64_t c) const {
    using Floats = typename Width::Floats;
    Floats before[V], here[V], after[V];
    column<Width, V>(0, c, here);
    for (int v = 0; v < V; ++v) before[v] = here[v];
    for (int64_t x = 0; x < width; ++x) {
      column<Width, V>(x + 1 < width ? x + 1 : x, c, after);
      Value* left = out + 2 * x * stride + c;
      for (int v = 0; v < V; ++v) {
        store_as<Width>(left + v * Width::kCount, kNear * here[v] + kFar * before[v]);
        store_as<Width>(left + stride + v * Width::kCount, kNear * here[v] + kFar * after[v]);
        before[v] = here[v];
        here[v] = after[v];
      }
    }
  }

 private:
  /// Column x of the row between the two.
  template <typename Width, int V>
  FLIPSIDE_INLINE void column(int64_t x, int64_t c, typename Width::Floats* values) const {
    const int64_t at = x * channels + c;
    for (int v = 0; v < V; ++v)
      values[v] = kNear * load_as<Width>(near + at + v * Width::kCount) +
                  kFar * load_as<Width>(far + at + v * Width::kCount);
  }
};

template <typename Value>
struct UpsampleRowGradient {
  const Value* const* rows;
  int64_t width, channels, stride;
  Value* out;

  template <typename Width, int V>
  FLIPSIDE_INLINE void tile(int64_t c) const {
    using Floats = typename Width::Floats;
    // Output columns 2x - 1 to 2x + 2, summed over the rows.
    Floats before[V], left[V], right[V], after[V];
    column<Width, V>(0, c, left);
    for (int v = 0; v < V; ++v) before[v] = left[v];
    for (int64_t x = 0; x < width; ++x) {
      column<Width, V>(2 * x + 1, c, right);
      column<Width, V>(x + 1 < width ? 2 * x + 2 : 2 * x + 1, c, after);
      for (int v = 0; v < V; ++v) {
        store_as<Width>(out + x * channels + c + v * Width::kCount,
                        kNear * (left[v] + right[v]) + kFar * (before[v] + after[v]));
        before[v] = right[v];
        left[v] = after[v];
      }
    }
  }

 private:
  template <typename Width, int V>
  FLIPSIDE_INLINE void column(int64_t x, int64_t c, typename Width::Floats* values) const {
    const int64_t at = x * stride + c;
    for (int v = 0; v < V; ++v) {
      const int64_t i = at + v * Width::kCount;
      values[v] = kNear * (load_as<Width>(rows[1] + i) + load_as<Width>(rows[2] + i)) +
                  kFar * (load_as<Width>(rows[0] + i) + load_as<Width>(rows[3] + i));
    }
  }
};

}  // namespace
}  // namespace flipside::kernels
