#include "flipside/explain/attribution/cam.h"

#include "flipside/core/error.h"

namespace flipside {

Tensor grad_cam(const Tensor& activations, const Tensor& gradients) {
  const Tensor weights = gradients.mean({2, 3}, /*keepdim=*/true);
  return (weights * activations).sum(/*dim=*/1, /*keepdim=*/true);
}

Tensor grad_cam_pp(const Tensor& activations, const Tensor& gradients) {
  // alpha = g^2 / (2 g^2 + sum(A) g^3) = 1 / (2 + sum(A) g), used where g > 0 only. The paper's
  // activations are those of a ReLU: the negative ones of ours count as 0 in the sum, which keeps
  // the denominator positive.
  const Tensor sum = activations.clamp_min(0).sum({2, 3}, /*keepdim=*/true);
  const Tensor positive = gradients.clamp_min(0);
  const Tensor weights = (positive / (2 + sum * positive)).sum({2, 3}, /*keepdim=*/true);
  return (weights * activations).sum(/*dim=*/1, /*keepdim=*/true);
}

Tensor layer_cam(const Tensor& activations, const Tensor& gradients) {
  return (gradients.clamp_min(0) * activations).sum(/*dim=*/1, /*keepdim=*/true);
}

LevelGradient level_gradient(Discriminator network, const Tensor& images, const Tensor& classes,
                             int64_t layer) {
  const int64_t levels = network->num_levels();
  if (layer < -1 || layer >= levels)
    fail(ErrorCode::kArgument, "layer {}: must be from 0 to {}, or -1 for the last", layer,
         levels - 1);
  const torch::AutoGradMode with_gradients(true);
  // The input asks for gradients, so that a level has one even when the weights do not.
  const auto trace = network->trace(images.detach().clone().requires_grad_());
  const Tensor level = trace.activations[layer < 0 ? levels - 1 : layer];
  const Tensor score = trace.logits.gather(/*dim=*/1, classes.unsqueeze(1)).sum();
  const Tensor gradient = torch::autograd::grad({score}, {level})[0];
  return {level.detach(), gradient.detach()};
}

}  // namespace flipside
