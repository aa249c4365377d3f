#include "flipside/model/native_bfloat16.h"
// Before the loops, for which processor they are compiled.

#include "flipside/model/average_and_max_loops.h"
#include "flipside/model/group_norm_loops.h"
#include "flipside/model/image_conv_loops.h"
#include "flipside/model/native_bfloat16_kernels.h"
#include "flipside/model/upsample_loops.h"

namespace flipside::kernels::native {

void channel_moments(const Block<BFloatBits>& block, float* mean, float* squares) {
  for_tiles(Moments<BFloatBits>{block, mean, squares}, block.channels);
}
void normalise_act(const Block<BFloatBits>& block, const Affine& affine, BFloatBits* y) {
  for_tiles(NormaliseAct<BFloatBits>{block, affine, y}, block.channels);
}
void gradient_sums(const Block<BFloatBits>& block, const Affine& affine, const BFloatBits* dy,
                   float* sum, float* centered_sum) {
  for_tiles(GradientSums<BFloatBits>{block, affine, dy, sum, centered_sum}, block.channels);
}
void input_gradient(const Block<BFloatBits>& block, const Affine& affine,
                    const InputGradient& terms, const BFloatBits* dy, BFloatBits* dx) {
  for_tiles(InputGradientKernel<BFloatBits>{block, affine, terms, dy, dx}, block.channels);
}

void image_conv_row(const float* const rows[3], const float* weights, const float* bias,
                    float slope, int64_t width, int64_t channels, BFloatBits* y) {
  for_widths(ImageConvRow<BFloatBits>{rows, weights, bias, slope, width, channels, y}, channels);
}
void before_activation(const BFloatBits* dy, const BFloatBits* y, float slope, int64_t count,
                       float* dz) {
  for_widths(UndoActivation<BFloatBits>{dy, y, slope, dz}, count);
}

void upsample_row(const BFloatBits* near, const BFloatBits* far, int64_t width, int64_t channels,
                  int64_t stride, BFloatBits* out) {
  for_tiles(UpsampleRow<BFloatBits>{near, far, width, channels, stride, out}, channels);
}
void upsample_row_gradient(const BFloatBits* const rows[4], int64_t width, int64_t channels,
                           int64_t stride, BFloatBits* out) {
  for_tiles(UpsampleRowGradient<BFloatBits>{rows, width, channels, stride, out}, channels);
}

void average_and_max(const Block<BFloatBits>& sample, float* average, float* most) {
  for_widths(AverageAndMax<BFloatBits>{sample, average, most}, sample.channels);
}
void average_and_max_gradient(const Block<BFloatBits>& sample, const PooledGradients& pooled,
                              BFloatBits* dx) {
  for_widths(AverageAndMaxGradient<BFloatBits>{sample, pooled, dx}, sample.channels);
}

}  // namespace flipside::kernels::native
