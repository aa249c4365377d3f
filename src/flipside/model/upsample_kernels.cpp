#include "flipside/model/native_bfloat16_kernels.h"
#include "flipside/model/upsample_loops.h"

namespace flipside::kernels {

FLIPSIDE_CLONES void upsample_row(const float* near, const float* far, int64_t width,
                                  int64_t channels, int64_t stride, float* out) {
  for_tiles(UpsampleRow<float>{near, far, width, channels, stride, out}, channels);
}
FLIPSIDE_CLONES void upsample_row(const BFloatBits* near, const BFloatBits* far, int64_t width,
                                  int64_t channels, int64_t stride, BFloatBits* out) {
  if (has_native_bfloat16()) return native::upsample_row(near, far, width, channels, stride, out);
  for_tiles(UpsampleRow<BFloatBits>{near, far, width, channels, stride, out}, channels);
}

FLIPSIDE_CLONES void upsample_row_gradient(const float* const rows[4], int64_t width,
                                           int64_t channels, int64_t stride, float* out) {
  for_tiles(UpsampleRowGradient<float>{rows, width, channels, stride, out}, channels);
}
FLIPSIDE_CLONES void upsample_row_gradient(const BFloatBits* const rows[4], int64_t width,
                                           int64_t channels, int64_t stride, BFloatBits* out) {
  if (has_native_bfloat16())
    return native::upsample_row_gradient(rows, width, channels, stride, out);
  for_tiles(UpsampleRowGradient<BFloatBits>{rows, width, channels, stride, out}, channels);
}

}  // namespace flipside::kernels
