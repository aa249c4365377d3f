#pragma once

#include "flipside/explain/attribution/scorer.h"

namespace flipside {

// Attribution from the gradient of the score at the pixels. All give signed maps [N,3,H,W] of
// images [N,3,H,W]; equations in docs/equations.md, "Attribution".

/// d score / d image.
Tensor score_gradient(const Scorer& score, const Tensor& images);

/// image * gradient (Shrikumar et al. 2016).
Tensor input_x_gradient(const Scorer& score, const Tensor& images);

/// Integrated gradients (Sundararajan et al. 2017, eq. 1) along the straight line from `baseline`
/// [N,3,H,W], by the midpoint rule of `steps` >= 1 points. Complete: an image's map sums to score -
/// score of the baseline, up to the error of the rule.
Tensor integrated_gradients(const Scorer& score, const Tensor& images, const Tensor& baseline,
                            int64_t steps);

/// SmoothGrad (Smilkov et al. 2017, eq. 2): the mean gradient over `samples` >= 1 copies with
/// Gaussian noise, whose deviation is `noise` times the image's range of values. Each copy's noise
/// is a function of (seed, copy), the same for every image: a map does not depend on its batch.
Tensor smooth_grad(const Scorer& score, const Tensor& images, double noise, int64_t samples,
                   uint64_t seed);

}  // namespace flipside
