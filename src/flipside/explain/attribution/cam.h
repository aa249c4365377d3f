#pragma once

#include "flipside/model/discriminator.h"

namespace flipside {

// Class activation maps: a level's activations weighted by the gradient of the score at that
// level. Both [N,C,h,w]; maps [N,1,h,w] as they are before the papers' last ReLU, so that the sign
// can be chosen outside. The gradient of the negated score gives the evidence against the class.

/// Grad-CAM (Selvaraju et al. 2017, eq. 1 and 2): channels weighted by their mean gradient.
Tensor grad_cam(const Tensor& activations, const Tensor& gradients);

/// Grad-CAM++ (Chattopadhay et al. 2018, eq. 10 and 19, for the score exp(S), whose factor exp(S)
/// is one number per image and left out).
Tensor grad_cam_pp(const Tensor& activations, const Tensor& gradients);

/// LayerCAM (Jiang et al. 2021, eq. 5 and 6): each activation weighted by its own positive
/// gradient.
Tensor layer_cam(const Tensor& activations, const Tensor& gradients);

/// A level's activations and the gradient of the scores there, both [N,C,h,w].
struct LevelGradient {
  Tensor activations, gradients;
};

/// At level `layer` of the network (`DiscriminatorImpl::trace`; -1 is the last) for the logits of
/// `classes` [N] int64 and `images` [N,3,H,W]. Throws `Error(kArgument)` for an unknown level.
LevelGradient level_gradient(Discriminator network, const Tensor& images, const Tensor& classes,
                             int64_t layer);

}  // namespace flipside
