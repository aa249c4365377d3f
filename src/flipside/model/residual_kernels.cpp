#include "flipside/model/residual_kernels.h"

#include <algorithm>

namespace flipside::kernels {
namespace {

constexpr int64_t kBlock = 64;  // pixels whose intermediate values stay in the nearest cache
constexpr int64_t kImageValues = 3, kRawValues = 4, kAttention = 3;

using Integers = int32_t __attribute__((vector_size(8 * kLanes)));

/// exp(x) to two units in the last place for |x| <= 60: 2^n times a polynomial of the rest.
FLIPSIDE_INLINE WideLanes exponential(WideLanes x) {
  constexpr float kLog2E = 1.44269504F;
  // ln 2 in two parts, the first of which times n is exact.
  constexpr float kLn2High = 0.693359375F, kLn2Low = -2.12194440e-4F;
  constexpr float kRound = 12582912.0F;  // 1.5 * 2^23: adding it rounds to an integer
  const WideLanes n = (x * kLog2E + kRound) - kRound;
  const WideLanes f = (x - n * kLn2High) - n * kLn2Low;
  // Taylor, by Horner: 1 + f (1 + f / 2 (1 + f / 3 (...))).
  WideLanes sum = 1 + f * (1 / 7.0F);
  for (const float inverse : {1 / 6.0F, 1 / 5.0F, 1 / 4.0F, 1 / 3.0F, 1 / 2.0F, 1.0F})
    sum = 1 + f * inverse * sum;
  const Integers exponent = (__builtin_convertvector(n, Integers) + 127) << 23;
  return sum * (WideLanes)exponent;
}

/// Of each pixel's four raw values, the tanh of three and the sigmoid of the last. Both come from
/// tanh: sigmoid(x) = (1 + tanh(x / 2)) / 2. Sixteen values at a time.
FLIPSIDE_INLINE WideLanes squash(WideLanes raw) {
  constexpr float kFlat = 30.0F;  // from here on tanh is 1 in float32
  const WideLanes doubled = {2, 2, 2, 1, 2, 2, 2, 1, 2, 2, 2, 1, 2, 2, 2, 1};
  WideLanes x = raw * doubled;
  const WideLanes top = WideLanes{} + kFlat;
  x = x > top ? top : x;
  x = x < -top ? -top : x;
  const WideLanes t = 1 - 2 / (exponential(x) + 1);
  const WideLanes scale = {1, 1, 1, .5F, 1, 1, 1, .5F, 1, 1, 1, .5F, 1, 1, 1, .5F};
  const WideLanes shift = {0, 0, 0, .5F, 0, 0, 0, .5F, 0, 0, 0, .5F, 0, 0, 0, .5F};
  return t * scale + shift;
}

/// `squash` of `count` <= kBlock pixels; `raw` may end in the middle of a vector.
FLIPSIDE_INLINE void squash_block(const float* raw, int64_t count, float* squashed) {
  const int64_t values = count * kRawValues;
  int64_t i = 0;
  for (; i + Sixteen::kCount <= values; i += Sixteen::kCount)
    store_as<Sixteen>(squashed + i, squash(load_as<Sixteen>(raw + i)));
  if (i == values) return;
  float last[Sixteen::kCount] = {};
  std::copy(raw + i, raw + values, last);
  store_as<Sixteen>(last, squash(load_as<Sixteen>(last)));
  std::copy(last, last + (values - i), squashed + i);
}

}  // namespace

FLIPSIDE_CLONES void add_change(const float* image, const float* raw, int64_t count, float* result,
                                float* attention) {
  float squashed[kBlock * kRawValues];
  for (int64_t from = 0; from < count; from += kBlock) {
    const int64_t size = std::min(kBlock, count - from);
    squash_block(raw + from * kRawValues, size, squashed);
    for (int64_t p = 0; p < size; ++p) {
      const float* s = squashed + p * kRawValues;
      const int64_t at = (from + p) * kImageValues;
      attention[from + p] = s[kAttention];
      for (int64_t i = 0; i < kImageValues; ++i) {
        const float sum = image[at + i] + s[kAttention] * s[i];
        result[at + i] = sum < 0 ? 0.0F : (sum > 1 ? 1.0F : sum);  // a NaN stays one
      }
    }
  }
}

FLIPSIDE_CLONES void change_gradient(const float* image, const float* raw, const float* dresult,
                                     const float* dattention, int64_t count, float* draw,
                                     float* dimage) {
  float squashed[kBlock * kRawValues];
  for (int64_t from = 0; from < count; from += kBlock) {
    const int64_t size = std::min(kBlock, count - from);
    squash_block(raw + from * kRawValues, size, squashed);
    for (int64_t p = 0; p < size; ++p) {
      const float* s = squashed + p * kRawValues;
      float* d = draw + (from + p) * kRawValues;
      const int64_t at = (from + p) * kImageValues;
      const float a = s[kAttention];
      float da = dattention != nullptr ? dattention[from + p] : 0.0F;
      for (int64_t i = 0; i < kImageValues; ++i) {
        const float sum = image[at + i] + a * s[i];
        const float g = sum >= 0 && sum <= 1 ? dresult[at + i] : 0.0F;
        if (dimage != nullptr) dimage[at + i] = g;
        da += g * s[i];
        d[i] = g * a * (1 - s[i] * s[i]);
      }
      d[kAttention] = da * a * (1 - a);
    }
  }
}

}  // namespace flipside::kernels
