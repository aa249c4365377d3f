#pragma once

#include "flipside/core/torch.h"

namespace flipside {

/// Group normalisation, per-sample gain and bias, and LeakyReLU in one pass over memory.
///
///   y = leaky_relu(xhat * gain[n,c] + bias[n,c], slope),  xhat = (x - mean_g) / sqrt(var_g + eps)
///
/// with mean and variance over the channels of a group and all pixels (Wu and He 2018, eq. 1).
/// `x` [N,C,H,W] channels_last; `gain`, `bias` [N,C] (FiLM folded in by the caller, so that its
/// gradient costs nothing here); groups divides C; slope in (0,1], 1 being no activation.
/// Gives [N,C,H,W] channels_last. Forward and backward are one custom autograd node on the CPU in
/// float32; elsewhere the same mathematics is composed of libtorch's operators.
Tensor group_norm_act(const Tensor& x, const Tensor& gain, const Tensor& bias, int64_t groups,
                      double slope, double eps = 1e-5);

/// The same, composed of libtorch's operators: the oracle of the tests, and the path for devices
/// and dtypes (and second derivatives) that the fused one does not know.
Tensor group_norm_act_composed(const Tensor& x, const Tensor& gain, const Tensor& bias,
                               int64_t groups, double slope, double eps = 1e-5);

/// LeakyReLU's slope in every network here.
constexpr double kSlope = 0.1;

/// Groups of a normalisation over `channels`: 8 channels each.
inline int64_t norm_groups(int64_t channels) { return std::max<int64_t>(1, channels / 8); }

}  // namespace flipside
