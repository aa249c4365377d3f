#include "flipside/explain/attribution/gradients.h"

#include "flipside/core/error.h"
#include "flipside/core/random.h"

namespace flipside {

Tensor score_gradient(const Scorer& score, const Tensor& images) {
  const torch::AutoGradMode with_gradients(true);
  const Tensor x = images.detach().clone().requires_grad_();
  return torch::autograd::grad({score(x).sum()}, {x})[0].detach();
}

Tensor input_x_gradient(const Scorer& score, const Tensor& images) {
  return images * score_gradient(score, images);
}

Tensor integrated_gradients(const Scorer& score, const Tensor& images, const Tensor& baseline,
                            int64_t steps) {
  if (steps < 1)
    fail(ErrorCode::kArgument, "integrated gradients: steps = {}: must be >= 1", steps);
  const Tensor path = images - baseline;
  Tensor sum = torch::zeros_like(images);
  for (int64_t k = 0; k < steps; ++k) {
    const double share = (static_cast<double>(k) + 0.5) / static_cast<double>(steps);
    sum += score_gradient(score, baseline + share * path);
  }
  return path * sum / static_cast<double>(steps);
}

Tensor smooth_grad(const Scorer& score, const Tensor& images, double noise, int64_t samples,
                   uint64_t seed) {
  if (samples < 1) fail(ErrorCode::kArgument, "SmoothGrad: samples = {}: must be >= 1", samples);
  const Tensor deviation =
      noise * (images.amax({1, 2, 3}, /*keepdim=*/true) - images.amin({1, 2, 3}, /*keepdim=*/true));
  Tensor sum = torch::zeros_like(images);
  for (int64_t k = 0; k < samples; ++k) {
    Rng rng({seed, static_cast<uint64_t>(k)});
    Tensor normal = torch::empty({1, images.size(1), images.size(2), images.size(3)});
    auto* values = normal.data_ptr<float>();
    for (int64_t i = 0; i < normal.numel(); ++i) values[i] = static_cast<float>(rng.normal());
    sum += score_gradient(score, images + deviation * normal.to(images.options()));
  }
  return sum / static_cast<double>(samples);
}

}  // namespace flipside
