#include "flipside/model/average_and_max_loops.h"
#include "flipside/model/native_bfloat16_kernels.h"

namespace flipside::kernels {

FLIPSIDE_CLONES void average_and_max(const Block<float>& sample, float* average, float* most) {
  for_widths(AverageAndMax<float>{sample, average, most}, sample.channels);
}
FLIPSIDE_CLONES void average_and_max(const Block<BFloatBits>& sample, float* average, float* most) {
  if (has_native_bfloat16()) return native::average_and_max(sample, average, most);
  for_widths(AverageAndMax<BFloatBits>{sample, average, most}, sample.channels);
}

FLIPSIDE_CLONES void average_and_max_gradient(const Block<float>& sample,
                                              const PooledGradients& pooled, float* dx) {
  for_widths(AverageAndMaxGradient<float>{sample, pooled, dx}, sample.channels);
}
FLIPSIDE_CLONES void average_and_max_gradient(const Block<BFloatBits>& sample,
                                              const PooledGradients& pooled, BFloatBits* dx) {
  if (has_native_bfloat16()) return native::average_and_max_gradient(sample, pooled, dx);
  for_widths(AverageAndMaxGradient<BFloatBits>{sample, pooled, dx}, sample.channels);
}

}  // namespace flipside::kernels
