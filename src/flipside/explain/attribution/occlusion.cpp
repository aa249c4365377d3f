#include "flipside/explain/attribution/occlusion.h"

#include <algorithm>

#include "flipside/core/error.h"

namespace flipside {
namespace {

/// Where squares begin along a side of `length` pixels.
std::vector<int64_t> starts(int64_t length, int64_t window, int64_t stride) {
  std::vector<int64_t> result;
  for (int64_t begin = 0; begin < length - window; begin += stride) result.push_back(begin);
  result.push_back(length - window);
  return result;
}

}  // namespace

Tensor occlusion(const Scorer& score, const Tensor& images, const Tensor& baseline, int64_t window,
                 int64_t stride) {
  const int64_t height = images.size(2), width = images.size(3);
  if (stride < 1 || stride > window || window > std::min(height, width))
    fail(ErrorCode::kArgument,
         "occlusion: window = {}, stride = {}: must be 1 <= stride <= window <= {}", window, stride,
         std::min(height, width));
  const torch::NoGradGuard no_grad;
  const Tensor whole = score(images);
  Tensor drops = torch::zeros({images.size(0), 1, height, width}, images.options());
  Tensor counts = torch::zeros({1, 1, height, width}, images.options());
  const auto square = [&](const Tensor& maps, int64_t y, int64_t x) {
    return maps.narrow(/*dim=*/2, y, window).narrow(/*dim=*/3, x, window);
  };
  for (const int64_t y : starts(height, window, stride))
    for (const int64_t x : starts(width, window, stride)) {
      Tensor occluded = images.clone();
      square(occluded, y, x).copy_(square(baseline, y, x));
      square(drops, y, x).add_((whole - score(occluded)).view({-1, 1, 1, 1}));
      square(counts, y, x).add_(1);
    }
  return drops / counts;
}

}  // namespace flipside
