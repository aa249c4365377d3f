#pragma once

#include "flipside/explain/attribution/scorer.h"

namespace flipside {

/// Occlusion (Zeiler and Fergus 2014, section 4.2): a square of `window` pixels, replaced by
/// `baseline` [N,3,H,W], goes over the image in steps of `stride` pixels; the last step of a row or
/// column ends at the border. A pixel gets the mean drop of the score over the squares that cover
/// it. `images` [N,3,H,W] -> signed [N,1,H,W]. No gradient is needed. Throws `Error(kArgument)`
/// unless 1 <= stride <= window (no pixel may be passed over) and the window fits into the image.
Tensor occlusion(const Scorer& score, const Tensor& images, const Tensor& baseline, int64_t window,
                 int64_t stride);

}  // namespace flipside
