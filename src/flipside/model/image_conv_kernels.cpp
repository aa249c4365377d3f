#include <algorithm>

#include "flipside/model/image_conv_loops.h"
#include "flipside/model/native_bfloat16_kernels.h"

namespace flipside::kernels {
namespace {

struct WeightGradient {
  const float* const* rows;
  const float* dz;
  int64_t width, channels;
  float *dweights, *dbias;

  template <typename Width>
  FLIPSIDE_INLINE void tile(int64_t c) const {
    typename Width::Floats whole = {};
    for (int64_t p = 0; p < width; ++p) whole += load_as<Width>(dz + p * channels + c);
    add<Width>(dbias + c, whole);
    for (int row = 0; row < 3; ++row) {
      typename Width::Floats sum[kRowTaps] = {};
      for (int64_t p = 0; p < width; ++p) {
        const auto g = load_as<Width>(dz + p * channels + c);
        for (int tap = 0; tap < kRowTaps; ++tap) sum[tap] += rows[row][p * kColours + tap] * g;
      }
      for (int tap = 0; tap < kRowTaps; ++tap)
        add<Width>(dweights + (row * kRowTaps + tap) * channels + c, sum[tap]);
    }
  }

 private:
  template <typename Width>
  FLIPSIDE_INLINE static void add(float* to, typename Width::Floats value) {
    store_as<Width>(to, load_as<Width>(to) + value);
  }
};

template <typename Width, int P>
FLIPSIDE_INLINE void spread_pixels(const float* dz, const float* weights, int64_t channels,
                                   float* taps) {
  constexpr int kVectors = kPaddedTaps / Width::kCount;
  typename Width::Floats sum[P][kVectors] = {};
  for (int64_t c = 0; c < channels; ++c) {
    typename Width::Floats weight[kVectors];
    for (int v = 0; v < kVectors; ++v)
      weight[v] = load_as<Width>(weights + c * kPaddedTaps + v * Width::kCount);
    for (int i = 0; i < P; ++i)
      for (int v = 0; v < kVectors; ++v) sum[i][v] += dz[i * channels + c] * weight[v];
  }
  for (int i = 0; i < P; ++i)
    for (int v = 0; v < kVectors; ++v)
      store_as<Width>(taps + i * kPaddedTaps + v * Width::kCount, sum[i][v]);
}

/// P pixels at a time: so many sums fit the registers.
template <typename Width, int P>
FLIPSIDE_INLINE void spread_row(const float* dz, const float* weights, int64_t width,
                                int64_t channels, float* taps) {
  int64_t p = 0;
  for (; p + P <= width; p += P)
    spread_pixels<Width, P>(dz + p * channels, weights, channels, taps + p * kPaddedTaps);
  for (; p < width; ++p)
    spread_pixels<Width, 1>(dz + p * channels, weights, channels, taps + p * kPaddedTaps);
}

}  // namespace

FLIPSIDE_CLONES void pad_row(const float* pixels, int64_t width, float* padded) {
  std::fill(padded, padded + kColours, 0.0F);
  float* inside = padded + kColours;
  const int64_t count = width * kColours;
  for (int64_t i = 0; i < count; ++i) inside[i] = pixels ? pixels[i] * 2 - 1 : 0.0F;
  std::fill(inside + count, inside + count + kColours, 0.0F);
}

FLIPSIDE_CLONES void image_conv_row(const float* const rows[3], const float* weights,
                                    const float* bias, float slope, int64_t width, int64_t channels,
                                    float* y) {
  for_widths(ImageConvRow<float>{rows, weights, bias, slope, width, channels, y}, channels);
}
FLIPSIDE_CLONES void image_conv_row(const float* const rows[3], const float* weights,
                                    const float* bias, float slope, int64_t width, int64_t channels,
                                    BFloatBits* y) {
  if (has_native_bfloat16())
    return native::image_conv_row(rows, weights, bias, slope, width, channels, y);
  for_widths(ImageConvRow<BFloatBits>{rows, weights, bias, slope, width, channels, y}, channels);
}

FLIPSIDE_CLONES void before_activation(const float* dy, const float* y, float slope, int64_t count,
                                       float* dz) {
  for_widths(UndoActivation<float>{dy, y, slope, dz}, count);
}
FLIPSIDE_CLONES void before_activation(const BFloatBits* dy, const BFloatBits* y, float slope,
                                       int64_t count, float* dz) {
  if (has_native_bfloat16()) return native::before_activation(dy, y, slope, count, dz);
  for_widths(UndoActivation<BFloatBits>{dy, y, slope, dz}, count);
}

FLIPSIDE_CLONES void add_weight_gradient(const float* const rows[3], const float* dz, int64_t width,
                                         int64_t channels, float* dweights, float* dbias) {
  for_widths(WeightGradient{rows, dz, width, channels, dweights, dbias}, channels);
}

FLIPSIDE_CLONES void spread_to_taps(const float* dz, const float* weights, int64_t width,
                                    int64_t channels, float* taps) {
  if (has_wide_registers()) return spread_row<Sixteen, 4>(dz, weights, width, channels, taps);
  spread_row<Eight, 2>(dz, weights, width, channels, taps);
}

FLIPSIDE_CLONES void gather_from_taps(const float* const taps[3], int64_t width, float* dimage) {
  for (int64_t x = 0; x < width; ++x) {
    FewLanes sum = {};
    for (int row = 0; row < 3; ++row)
      for (int column = 0; column < 3; ++column)
        sum += *reinterpret_cast<const FewLanes*>(taps[row] + (x + 2 - column) * kPaddedTaps +
                                                  row * kRowTaps + column * kColours);
    for (int colour = 0; colour < kColours; ++colour)  // of x, not of 2 x - 1
      dimage[x * kColours + colour] = 2 * sum[colour];
  }
}

}  // namespace flipside::kernels
