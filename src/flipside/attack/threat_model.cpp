#include "flipside/attack/threat_model.h"

#include <cmath>

namespace flipside {
namespace {

constexpr double kRounding = 1e-5;  // of sums over an image in float32, relative

template <typename Draw>
Tensor noise(at::IntArrayRef sizes, std::vector<Rng>& streams, Draw draw) {
  TORCH_CHECK(static_cast<int64_t>(streams.size()) == sizes[0], "noise: one stream per image");
  Tensor result = torch::empty(sizes, torch::kFloat32);
  float* values = result.data_ptr<float>();
  const int64_t count = streams.empty() ? 0 : result.numel() / sizes[0];
  for (Rng& stream : streams)
    for (int64_t i = 0; i < count; ++i) *values++ = static_cast<float>(draw(stream));
  return result;
}

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

Tensor ThreatModel::bound() const {
  return moving_eps.defined() ? moving_eps : torch::scalar_tensor(eps, torch::kDouble);
}

Tensor ThreatModel::project(const Tensor& attacked, const Tensor& images) const {
  const Tensor most = bound();
  if (norm == Norm::kLinf)
    return torch::max(torch::min(attacked, images + most), images - most).clamp(0.0, 1.0);
  const Tensor change = attacked - images;
  const Tensor shrink = (most / lengths(change).clamp_min(1e-12)).clamp_max(1.0);
  return (images + change * per_image(shrink)).clamp(0.0, 1.0);
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
  if (norm == Norm::kLinf)
    return linf_start(images, bound(), uniform_noise(images.sizes(), streams).to(images.options()));
  // A uniform point of a ball in d dimensions: any direction, radius eps u^(1/d).
  const Tensor change = gaussian_noise(images.sizes(), streams);
  for (int64_t n = 0; n < images.size(0); ++n) {
    const auto values = static_cast<double>(change[n].numel());
    const double radius = eps * std::pow(streams[n].uniform(), 1.0 / values);
    change[n].mul_(radius / std::max(change[n].norm().item<double>(), 1e-12));
  }
  return project(images + change.to(images.options()), images);
}

Tensor ThreatModel::allows(const Tensor& attacked, const Tensor& images) const {
  const Tensor flat = attacked.flatten(1);
  return (change_size(norm, attacked, images) <= eps * (1 + kRounding) + 1e-6) &
         (flat.amin(/*dim=*/1) >= 0.0) & (flat.amax(/*dim=*/1) <= 1.0);
}

Tensor uniform_noise(at::IntArrayRef sizes, std::vector<Rng>& streams) {
  return noise(sizes, streams, [](Rng& rng) { return rng.uniform(); });
}

Tensor gaussian_noise(at::IntArrayRef sizes, std::vector<Rng>& streams) {
  return noise(sizes, streams, [](Rng& rng) { return rng.normal(); });
}

Tensor linf_start(const Tensor& images, const Tensor& bound, const Tensor& uniform) {
  const Tensor low = (images - bound).clamp_min(0.0), high = (images + bound).clamp_max(1.0);
  return low + (high - low) * uniform;
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
