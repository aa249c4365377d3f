#pragma once

#include "flipside/model/lanes.h"

namespace flipside::kernels {

// The loops of `upsample_concat` over one row of pixels. Bilinear x2 with half-pixel centres takes
// of an output pixel's two nearest input pixels .75 and .25, along each axis; beyond the border the
// border counts on. `width` and `channels` (a multiple of kLanes) are the input's; an output row
// has 2 * width pixels that lie `stride` values apart. Computed in float32 whatever the type.

/// One output row from the nearest input row and the next nearest (the same one at the border).
void upsample_row(const float* near, const float* far, int64_t width, int64_t channels,
                  int64_t stride, float* out);
void upsample_row(const BFloatBits* near, const BFloatBits* far, int64_t width, int64_t channels,
                  int64_t stride, BFloatBits* out);

/// The adjoint: the gradient of input row y from those of output rows 2y - 1, 2y, 2y + 1 and 2y + 2
/// (at the border its own row instead of the missing one).
void upsample_row_gradient(const float* const rows[4], int64_t width, int64_t channels,
                           int64_t stride, float* out);
void upsample_row_gradient(const BFloatBits* const rows[4], int64_t width, int64_t channels,
                           int64_t stride, BFloatBits* out);

}  // namespace flipside::kernels
