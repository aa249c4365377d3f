#pragma once

#include "flipside/model/average_and_max_kernels.h"
#include "flipside/model/group_norm_kernels.h"
#include "flipside/model/image_conv_kernels.h"
#include "flipside/model/upsample_kernels.h"

namespace flipside::kernels::native {

// The kernels of the same names over bfloat16, where `has_native_bfloat16()`.

void channel_moments(const Block<BFloatBits>& block, float* mean, float* squares);
void normalise_act(const Block<BFloatBits>& block, const Affine& affine, BFloatBits* y);
void gradient_sums(const Block<BFloatBits>& block, const Affine& affine, const BFloatBits* dy,
                   float* sum, float* centered_sum);
void input_gradient(const Block<BFloatBits>& block, const Affine& affine,
                    const InputGradient& terms, const BFloatBits* dy, BFloatBits* dx);

void image_conv_row(const float* const rows[3], const float* weights, const float* bias,
                    float slope, int64_t width, int64_t channels, BFloatBits* y);
void before_activation(const BFloatBits* dy, const BFloatBits* y, float slope, int64_t count,
                       float* dz);

void upsample_row(const BFloatBits* near, const BFloatBits* far, int64_t width, int64_t channels,
                  int64_t stride, BFloatBits* out);
void upsample_row_gradient(const BFloatBits* const rows[4], int64_t width, int64_t channels,
                           int64_t stride, BFloatBits* out);

void average_and_max(const Block<BFloatBits>& sample, float* average, float* most);
void average_and_max_gradient(const Block<BFloatBits>& sample, const PooledGradients& pooled,
                              BFloatBits* dx);

}  // namespace flipside::kernels::native
