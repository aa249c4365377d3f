#include "flipside/model/group_norm_loops.h"
#include "flipside/model/native_bfloat16_kernels.h"

namespace flipside::kernels {

FLIPSIDE_CLONES void channel_moments(const Block<float>& block, float* mean, float* squares) {
  for_tiles(Moments<float>{block, mean, squares}, block.channels);
}
FLIPSIDE_CLONES void channel_moments(const Block<BFloatBits>& block, float* mean, float* squares) {
  if (has_native_bfloat16()) return native::channel_moments(block, mean, squares);
  for_tiles(Moments<BFloatBits>{block, mean, squares}, block.channels);
}

FLIPSIDE_CLONES void normalise_act(const Block<float>& block, const Affine& affine, float* y) {
  for_tiles(NormaliseAct<float>{block, affine, y}, block.channels);
}
FLIPSIDE_CLONES void normalise_act(const Block<BFloatBits>& block, const Affine& affine,
                                   BFloatBits* y) {
  if (has_native_bfloat16()) return native::normalise_act(block, affine, y);
  for_tiles(NormaliseAct<BFloatBits>{block, affine, y}, block.channels);
}

FLIPSIDE_CLONES void gradient_sums(const Block<float>& block, const Affine& affine, const float* dy,
                                   float* sum, float* centered_sum) {
  for_tiles(GradientSums<float>{block, affine, dy, sum, centered_sum}, block.channels);
}
FLIPSIDE_CLONES void gradient_sums(const Block<BFloatBits>& block, const Affine& affine,
                                   const BFloatBits* dy, float* sum, float* centered_sum) {
  if (has_native_bfloat16()) return native::gradient_sums(block, affine, dy, sum, centered_sum);
  for_tiles(GradientSums<BFloatBits>{block, affine, dy, sum, centered_sum}, block.channels);
}

FLIPSIDE_CLONES void input_gradient(const Block<float>& block, const Affine& affine,
                                    const InputGradient& terms, const float* dy, float* dx) {
  for_tiles(InputGradientKernel<float>{block, affine, terms, dy, dx}, block.channels);
}
FLIPSIDE_CLONES void input_gradient(const Block<BFloatBits>& block, const Affine& affine,
                                    const InputGradient& terms, const BFloatBits* dy,
                                    BFloatBits* dx) {
  if (has_native_bfloat16()) return native::input_gradient(block, affine, terms, dy, dx);
  for_tiles(InputGradientKernel<BFloatBits>{block, affine, terms, dy, dx}, block.channels);
}

}  // namespace flipside::kernels
