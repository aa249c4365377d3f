#pragma once

#include "flipside/model/lanes.h"

namespace flipside::kernels {

// The loops of `image_conv` over one row of pixels. A tap is one of the 27 values that a 3x3
// convolution of RGB sees, in the order (row, column, colour). Input rows are padded by one pixel
// of zeros on both sides. `channels`, a multiple of kLanes, are the output's.

constexpr int64_t kColours = 3;
constexpr int64_t kRowTaps = 3 * kColours;
constexpr int64_t kTaps = 3 * kRowTaps;
constexpr int64_t kPaddedTaps = 32;  // a row of the transposed weights, in memory

/// A row of an image in [0,1] as the networks see it, in [-1,1]; zeros for no row (nullptr).
/// `padded` has (width + 2) * kColours values.
void pad_row(const float* pixels, int64_t width, float* padded);

/// y = leaky_relu(convolution + bias) of one row; `weights` [kTaps, channels].
void image_conv_row(const float* const rows[3], const float* weights, const float* bias,
                    float slope, int64_t width, int64_t channels, float* y);
void image_conv_row(const float* const rows[3], const float* weights, const float* bias,
                    float slope, int64_t width, int64_t channels, BFloatBits* y);

/// The gradient before the activation: dy where y is positive, else slope * dy; `count` values.
void before_activation(const float* dy, const float* y, float slope, int64_t count, float* dz);
void before_activation(const BFloatBits* dy, const BFloatBits* y, float slope, int64_t count,
                       float* dz);

/// Adds one row's share to the gradients of weights [kTaps, channels] and bias [channels].
void add_weight_gradient(const float* const rows[3], const float* dz, int64_t width,
                         int64_t channels, float* dweights, float* dbias);

/// dz of one row times the weights [channels, kPaddedTaps]: what each of its pixels gives to the
/// taps around it, [width, kPaddedTaps].
void spread_to_taps(const float* dz, const float* weights, int64_t width, int64_t channels,
                    float* taps);
/// One row of the image's gradient from what its own output row and the two beside it gave to
/// their taps: `taps[i]` is of the output row for which this one is row i of the kernel, and has a
/// pixel of zeros on both sides.
void gather_from_taps(const float* const taps[3], int64_t width, float* dimage);

}  // namespace flipside::kernels
