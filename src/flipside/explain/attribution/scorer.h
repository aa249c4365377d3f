#pragma once

#include <functional>

#include "flipside/model/discriminator.h"

namespace flipside {

/// images [N,3,H,W] in [0,1] -> scores [N], row i for the class that image i is explained for; an
/// image's score depends on that image alone. Gradient methods need it differentiable.
using Scorer = std::function<Tensor(const Tensor&)>;

/// The logits of `classes` [N] int64 by a classifier or by the K+1 discriminator.
inline Scorer class_score(Discriminator network, const Tensor& classes) {
  return [network, classes](const Tensor& images) mutable {
    return network->forward(images).gather(/*dim=*/1, classes.unsqueeze(1)).squeeze(1);
  };
}

/// What stands for "nothing there": where integrated gradients start, and what occlusion and RISE
/// put in place of pixels.
enum class Baseline {
  kBlack,  ///< zeros, the usual choice; a dark defect on black is hardly a change
  kMean,   ///< the image's own mean colour
};

/// The baseline of each image: [N,3,H,W].
inline Tensor baseline_images(const Tensor& images, Baseline baseline) {
  if (baseline == Baseline::kBlack) return torch::zeros_like(images);
  return images.mean({2, 3}, /*keepdim=*/true).expand_as(images).contiguous(kChannelsLast);
}

}  // namespace flipside
