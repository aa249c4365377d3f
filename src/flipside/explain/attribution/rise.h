#pragma once

#include "flipside/explain/attribution/scorer.h"

namespace flipside {

struct RiseOptions {
  int64_t masks = 500;  ///< the paper takes 4000 to 8000, on images of 224 pixels
  int64_t cells = 8;    ///< of the coarse random grid along each side
  double keep = 0.5;    ///< probability that a cell is kept
  uint64_t seed = 1;
};

/// Mask number `index` of RISE (Petsiuk et al. 2018, section 3.2), [1,1,height,width] in [0,1]: a
/// grid of cells kept at random, enlarged bilinearly, shifted at random by less than a cell. A
/// function of (seed, index), so that all images share the masks.
Tensor rise_mask(int64_t index, int64_t height, int64_t width, const RiseOptions& options);

/// RISE (eq. 6): the mean score over random masks, weighted by how much each keeps a pixel; what a
/// mask hides is taken from `baseline` [N,3,H,W]. `images` [N,3,H,W] -> signed [N,1,H,W]. The
/// scores' mean is subtracted first (ours): a logit has no natural zero, and the map then says how
/// much keeping a pixel raises the score. No gradient is needed.
Tensor rise(const Scorer& score, const Tensor& images, const Tensor& baseline,
            const RiseOptions& options);

}  // namespace flipside
