#pragma once

#include <functional>

#include "flipside/core/random.h"
#include "flipside/core/torch.h"

namespace flipside {

/// Adversarial training images (8): L-inf PGD (Madry et al. 2018) from a random start,
/// x' = clamp(project(x' + step sign(grad loss))), step 2.5 eps / num_steps.
/// `images` [N,3,H,W] in [0,1]; `loss` maps images to the scalar that is raised; `eps` in [0,1]
/// units. The result has no gradient; parameters' gradients are left untouched.
Tensor pgd_images(const Tensor& images, const std::function<Tensor(const Tensor&)>& loss,
                  double eps, int64_t num_steps, Rng& rng);

}  // namespace flipside
