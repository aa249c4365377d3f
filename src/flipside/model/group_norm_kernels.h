#pragma once

#include "flipside/model/lanes.h"

namespace flipside::kernels {

// The loops of `group_norm_act` over one block of one sample. Everything per channel is an array of
// `channels` floats. With x the input and g the gradient before the activation,
//
//   t = (x - center) * scale + bias,   y = leaky_relu(t, slope),   g = dy * (t > 0 ? 1 : slope).

/// What turns x into t, per channel: group mean, gain / deviation, bias.
struct Affine {
  const float *center, *scale, *bias;
  float slope;
};

/// Mean and sum of squared deviations from it, per channel. Two passes: no cancellation.
void channel_moments(const Block<float>& block, float* mean, float* squares);
void channel_moments(const Block<BFloatBits>& block, float* mean, float* squares);

/// Writes y.
void normalise_act(const Block<float>& block, const Affine& affine, float* y);
void normalise_act(const Block<BFloatBits>& block, const Affine& affine, BFloatBits* y);

/// Sums over the pixels of g and of g * (x - center), per channel.
void gradient_sums(const Block<float>& block, const Affine& affine, const float* dy, float* sum,
                   float* centered_sum);
void gradient_sums(const Block<BFloatBits>& block, const Affine& affine, const BFloatBits* dy,
                   float* sum, float* centered_sum);

/// dx = g * slope + (x - center) * tilt + shift, per channel.
struct InputGradient {
  const float *slope, *tilt, *shift;
};
void input_gradient(const Block<float>& block, const Affine& affine, const InputGradient& terms,
                    const float* dy, float* dx);
void input_gradient(const Block<BFloatBits>& block, const Affine& affine,
                    const InputGradient& terms, const BFloatBits* dy, BFloatBits* dx);

}  // namespace flipside::kernels
