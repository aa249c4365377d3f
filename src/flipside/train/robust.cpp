#include "flipside/train/robust.h"

#include <ATen/CPUGeneratorImpl.h>

namespace flipside {

Tensor pgd_images(const Tensor& images, const std::function<Tensor(const Tensor&)>& loss,
                  double eps, int64_t num_steps, Rng& rng) {
  const double step_size = 2.5 * eps / static_cast<double>(num_steps);
  const Tensor low = (images - eps).clamp(0.0, 1.0), high = (images + eps).clamp(0.0, 1.0);
  auto generator = at::detail::createCPUGenerator(rng.next());
  const Tensor noise =
      torch::rand(images.sizes(), generator, torch::TensorOptions().dtype(images.dtype()))
          .to(images.device());
  Tensor attacked = (low + (high - low) * noise).contiguous(kChannelsLast).detach();
  for (int64_t i = 0; i < num_steps; ++i) {
    attacked.requires_grad_(true);
    const Tensor gradient = torch::autograd::grad({loss(attacked)}, {attacked})[0];
    attacked = torch::max(torch::min(attacked.detach() + step_size * gradient.sign(), high), low);
  }
  return attacked.detach();
}

}  // namespace flipside
