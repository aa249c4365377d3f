#include "flipside/attack/threat_model.h"

#include <cmath>

namespace flipside {
namespace {

constexpr double kRounding = 1e-5;  // of sums over an image in float32, relative

Tensor lengths(const Tensor& changes) {
  return changes.flatten(/*start_dim=*/1).to(torch::kDouble).norm(2, /*dim=*/1).to(changes.dtype());
}

}  // namespace

const char* to_string(Norm norm) { return norm == Norm::kLinf ? "linf" : "l2"; }

Tensor change_size(Norm norm, const Tensor& attacked, const Tensor& images) {
  const Tensor change = attacked - images;
  return norm == Norm::kL2 ? lengths(change) : change.abs().flatten(1).amax(/*dim=*/1);
}

double full_range(Norm norm, const Tensor& images) {
  return norm == Norm::kLinf ? 1.0 : std::sqrt(static_cast<double>(images[0].numel()));
}

Tensor ThreatModel::project(const Tensor& attacked, const Tensor& images) const {
  if (norm == Norm::kLinf)
    return torch::max(torch::min(attacked, images + eps), images - eps).clamp(0.0, 1.0);
  const Tensor change = attacked - images;
  const Tensor factor = (eps / lengths(change).clamp_min(1e-12)).clamp_max(1.0);
  return (images + change * per_image(factor)).clamp(0.0, 1.0);
}

Tensor ThreatModel::ascend(const Tensor& attacked, const Tensor& gradient,
                           const Tensor& step) const {
  if (norm == Norm::kLinf) return attacked + per_image(step) * gradient.sign();
  // Scaled first: the squares of a confident network's gradients would vanish in float32.
  const Tensor largest = gradient.abs().flatten(1).amax(/*dim=*/1);
  const Tensor scaled =
      gradient / per_image(torch::where(largest > 0, largest, torch::ones_like(largest)));
  return attacked + scaled * per_image(step / lengths(scaled).clamp_min(1e-12));
}

Tensor ThreatModel::random_start(const Tensor& images, std::vector<Rng>& streams) const {
  TORCH_CHECK(static_cast<int64_t>(streams.size()) == images.size(0),
              "random_start: one stream per image");
  const int64_t values = images[0].numel();
  Tensor noise = torch::empty({images.size(0), values}, torch::kFloat32);
  for (int64_t n = 0; n < images.size(0); ++n) {
    float* row = noise.data_ptr<float>() + n * values;
    Rng& rng = streams[n];
    for (int64_t i = 0; i < values; ++i)
      row[i] = static_cast<float>(norm == Norm::kLinf ? rng.uniform() : rng.normal());
    // A uniform point of a ball in d dimensions: any direction, radius eps u^(1/d).
    if (norm == Norm::kL2) {
      const double radius = eps * std::pow(rng.uniform(), 1.0 / static_cast<double>(values));
      const double length = noise[n].norm().item<double>();
      noise[n].mul_(radius / std::max(length, 1e-12));
    }
  }
  noise = noise.view(images.sizes()).to(images.options());
  if (norm == Norm::kL2) return project(images + noise, images);
  const Tensor low = (images - eps).clamp_min(0.0), high = (images + eps).clamp_max(1.0);
  return low + (high - low) * noise;
}

Tensor ThreatModel::allows(const Tensor& attacked, const Tensor& images) const {
  const Tensor flat = attacked.flatten(1);
  return (change_size(norm, attacked, images) <= eps * (1 + kRounding) + 1e-6) &
         (flat.amin(/*dim=*/1) >= 0.0) & (flat.amax(/*dim=*/1) <= 1.0);
}

std::vector<Rng> image_streams(uint64_t seed, uint64_t work, const std::vector<int64_t>& images) {
  constexpr uint64_t kAttackTag = 0x61747461636b;  // apart from the loader's and trainer's draws
  std::vector<Rng> streams;
  streams.reserve(images.size());
  for (int64_t image : images)
    streams.push_back(Rng({seed, kAttackTag, work, static_cast<uint64_t>(image)}));
  return streams;
}

}  // namespace flipside
