#include "flipside/model/upsample_kernels.h"

namespace flipside::kernels {
namespace {

constexpr float kNear = 0.75F, kFar = 0.25F;

template <typename Value>
struct UpsampleRow {
  const Value *near, *far;
  int64_t width, channels, stride;
  Value* out;

  template <int V>
  FLIPSIDE_INLINE void tile(int64_t c) const {
    Lanes before[V], here[V], after[V];
    column<V>(0, c, here);
    for (int v = 0; v < V; ++v) before[v] = here[v];
    for (int64_t x = 0; x < width; ++x) {
      column<V>(x + 1 < width ? x + 1 : x, c, after);
      Value* left = out + 2 * x * stride + c;
      for (int v = 0; v < V; ++v) {
        store(left + v * kLanes, kNear * here[v] + kFar * before[v]);
        store(left + stride + v * kLanes, kNear * here[v] + kFar * after[v]);
        before[v] = here[v];
        here[v] = after[v];
      }
    }
  }

 private:
  /// Column x of the row between the two.
  template <int V>
  FLIPSIDE_INLINE void column(int64_t x, int64_t c, Lanes* values) const {
    const int64_t at = x * channels + c;
    for (int v = 0; v < V; ++v)
      values[v] = kNear * load(near + at + v * kLanes) + kFar * load(far + at + v * kLanes);
  }
};

template <typename Value>
struct UpsampleRowGradient {
  const Value* const* rows;
  int64_t width, channels, stride;
  Value* out;

  template <int V>
  FLIPSIDE_INLINE void tile(int64_t c) const {
    // Output columns 2x - 1 to 2x + 2, summed over the rows.
    Lanes before[V], left[V], right[V], after[V];
    column<V>(0, c, left);
    for (int v = 0; v < V; ++v) before[v] = left[v];
    for (int64_t x = 0; x < width; ++x) {
      column<V>(2 * x + 1, c, right);
      column<V>(x + 1 < width ? 2 * x + 2 : 2 * x + 1, c, after);
      for (int v = 0; v < V; ++v) {
        store(out + x * channels + c + v * kLanes,
              kNear * (left[v] + right[v]) + kFar * (before[v] + after[v]));
        before[v] = right[v];
        left[v] = after[v];
      }
    }
  }

 private:
  template <int V>
  FLIPSIDE_INLINE void column(int64_t x, int64_t c, Lanes* values) const {
    const int64_t at = x * stride + c;
    for (int v = 0; v < V; ++v) {
      const int64_t i = at + v * kLanes;
      values[v] = kNear * (load(rows[1] + i) + load(rows[2] + i)) +
                  kFar * (load(rows[0] + i) + load(rows[3] + i));
    }
  }
};

}  // namespace

FLIPSIDE_CLONES void upsample_row(const float* near, const float* far, int64_t width,
                                  int64_t channels, int64_t stride, float* out) {
  for_tiles(UpsampleRow<float>{near, far, width, channels, stride, out}, channels);
}
FLIPSIDE_CLONES void upsample_row(const BFloatBits* near, const BFloatBits* far, int64_t width,
                                  int64_t channels, int64_t stride, BFloatBits* out) {
  for_tiles(UpsampleRow<BFloatBits>{near, far, width, channels, stride, out}, channels);
}

FLIPSIDE_CLONES void upsample_row_gradient(const float* const rows[4], int64_t width,
                                           int64_t channels, int64_t stride, float* out) {
  for_tiles(UpsampleRowGradient<float>{rows, width, channels, stride, out}, channels);
}
FLIPSIDE_CLONES void upsample_row_gradient(const BFloatBits* const rows[4], int64_t width,
                                           int64_t channels, int64_t stride, BFloatBits* out) {
  for_tiles(UpsampleRowGradient<BFloatBits>{rows, width, channels, stride, out}, channels);
}

}  // namespace flipside::kernels
