#include "flipside/explain/attribution/rise.h"

#include "flipside/core/error.h"
#include "flipside/core/random.h"

namespace flipside {
namespace {

void check(const RiseOptions& options) {
  if (options.masks < 1 || options.cells < 1 || !(options.keep > 0 && options.keep < 1))
    fail(ErrorCode::kArgument,
         "RISE: masks = {}, cells = {}, keep = {}: must be >= 1, >= 1 and inside (0,1)",
         options.masks, options.cells, options.keep);
}

}  // namespace

Tensor rise_mask(int64_t index, int64_t height, int64_t width, const RiseOptions& options) {
  check(options);
  Rng rng({options.seed, static_cast<uint64_t>(index)});
  Tensor grid = torch::empty({1, 1, options.cells, options.cells});
  auto* cells = grid.data_ptr<float>();
  for (int64_t i = 0; i < grid.numel(); ++i) cells[i] = rng.chance(options.keep) ? 1.0f : 0.0f;
  // One cell larger than the image, so that the shift stays inside.
  const int64_t cell_height = (height + options.cells - 1) / options.cells;
  const int64_t cell_width = (width + options.cells - 1) / options.cells;
  const int64_t top = rng.below(cell_height), left = rng.below(cell_width);
  const Tensor large = torch::upsample_bilinear2d(
      grid, {(options.cells + 1) * cell_height, (options.cells + 1) * cell_width},
      /*align_corners=*/false);
  return large.narrow(/*dim=*/2, top, height).narrow(/*dim=*/3, left, width).contiguous();
}

Tensor rise(const Scorer& score, const Tensor& images, const Tensor& baseline,
            const RiseOptions& options) {
  check(options);
  const torch::NoGradGuard no_grad;
  const int64_t height = images.size(2), width = images.size(3);
  const Tensor change = images - baseline;
  // In double: the mean score is subtracted from sums that it dominates.
  const auto real = images.options().dtype(torch::kDouble);
  Tensor weighted = torch::zeros({images.size(0), 1, height, width}, real);
  Tensor weights = torch::zeros({1, 1, height, width}, real);
  Tensor total = torch::zeros({images.size(0), 1, 1, 1}, real);
  for (int64_t k = 0; k < options.masks; ++k) {
    const Tensor mask = rise_mask(k, height, width, options).to(images.options());
    const Tensor scores = score(baseline + mask * change).to(torch::kDouble).view({-1, 1, 1, 1});
    weighted += scores * mask;
    weights += mask;
    total += scores;
  }
  const Tensor mean = total / static_cast<double>(options.masks);
  // A pixel that no mask keeps has no weight, and nothing is known of it.
  return ((weighted - mean * weights) / weights.clamp_min(1e-6)).to(images.scalar_type());
}

}  // namespace flipside
