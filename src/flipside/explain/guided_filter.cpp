#include "flipside/explain/guided_filter.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <array>
#include <vector>

#include "flipside/core/error.h"

namespace flipside {
namespace {

/// What a pixel has.
template <size_t kNumbers>
using Numbers = std::array<double, kNumbers>;

template <size_t kNumbers>
struct Pixels {
  int64_t height, width;
  std::vector<Numbers<kNumbers>> values;  ///< [H][W]
  Pixels(int64_t h, int64_t w) : height(h), width(w), values(h * w) {}
  const Numbers<kNumbers>* row(int64_t y) const { return values.data() + y * width; }
};

/// Adds `sign` times each of `count` pixels.
template <size_t kNumbers>
void add(const Numbers<kNumbers>* pixels, int64_t count, double sign, Numbers<kNumbers>* sums) {
  for (int64_t x = 0; x < count; ++x)
    for (size_t i = 0; i < kNumbers; ++i) sums[x][i] += sign * pixels[x][i];
}

/// Calls `take(at)` once the window [at - radius, at + radius] of an axis, cut off at its ends, has
/// been made by `add(place, sign)`: a running sum, so that the radius costs nothing.
template <class Add, class Take>
void slide(int64_t length, int64_t radius, const Add& add, const Take& take) {
  for (int64_t at = 0; at < std::min(radius, length); ++at) add(at, 1);
  for (int64_t at = 0; at < length; ++at) {
    if (at + radius < length) add(at + radius, 1);
    if (at - radius - 1 >= 0) add(at - radius - 1, -1);
    take(at);
  }
}

/// How many places of an axis the window around one has.
int64_t window_length(int64_t at, int64_t length, int64_t radius) {
  return std::min(at + radius, length - 1) - std::max<int64_t>(at - radius, 0) + 1;
}

/// Means over square windows; in double, so that the running sums do not drift.
template <size_t kNumbers>
Pixels<kNumbers> box_means(const Pixels<kNumbers>& pixels, int64_t radius) {
  const int64_t height = pixels.height, width = pixels.width;
  Pixels<kNumbers> means(height, width);
  std::vector<Numbers<kNumbers>> columns(width);
  auto* mean = means.values.data();
  const auto add_row = [&](int64_t y, double sign) {
    add(pixels.row(y), width, sign, columns.data());
  };
  slide(height, radius, add_row, [&](int64_t y) {
    const auto rows = window_length(y, height, radius);
    Numbers<kNumbers> sum{};
    const auto add_column = [&](int64_t x, double sign) { add(&columns[x], 1, sign, &sum); };
    slide(width, radius, add_column, [&](int64_t x) {
      const double share = 1 / static_cast<double>(rows * window_length(x, width, radius));
      for (size_t i = 0; i < kNumbers; ++i) (*mean)[i] = sum[i] * share;
      ++mean;
    });
  });
  return means;
}

/// One image: eq. 5 and 6 for the windows' a and b, and their means for eq. 8.
Pixels<2> fit_image(const float* guide, const float* map, int64_t height, int64_t width,
                    int64_t radius, double epsilon) {
  Pixels<4> pixels(height, width);
  for (size_t i = 0; i < pixels.values.size(); ++i) {
    const double I = guide[i], p = map[i];
    pixels.values[i] = {I, p, I * p, I * I};
  }
  const Pixels<4> means = box_means(pixels, radius);
  Pixels<2> fit(height, width);
  for (size_t i = 0; i < fit.values.size(); ++i) {
    const auto& [I, p, Ip, II] = means.values[i];
    const double a = (Ip - I * p) / (II - I * I + epsilon);
    fit.values[i] = {a, p - a * I};
  }
  return box_means(fit, radius);
}

/// Calls `take(n, fit)` for every image n, several at once.
template <class Take>
void fit_images(const Tensor& guides, const Tensor& maps, int64_t radius, double epsilon,
                const Take& take) {
  if (maps.dim() != 4 || maps.size(1) != 1 || guides.sizes() != maps.sizes())
    fail(ErrorCode::kArgument, "guided_filter: guide and map must both be [N,1,H,W]");
  if (radius < 1 || !(epsilon > 0))
    fail(ErrorCode::kArgument, "guided_filter: radius {}, epsilon {}: must be >= 1 and > 0", radius,
         epsilon);
  const int64_t height = maps.size(2), width = maps.size(3), pixels = height * width;
  const float *guide = guides.data_ptr<float>(), *map = maps.data_ptr<float>();
  at::parallel_for(0, maps.size(0), 1, [&](int64_t begin, int64_t end) {
    for (int64_t n = begin; n < end; ++n)
      take(n, fit_image(guide + n * pixels, map + n * pixels, height, width, radius, epsilon));
  });
}

}  // namespace

GuidedFit guided_fit(const Tensor& guide, const Tensor& map, int64_t radius, double epsilon) {
  const GuidedFit fit{torch::empty(map.sizes(), torch::kFloat64),
                      torch::empty(map.sizes(), torch::kFloat64)};
  double *a = fit.a.data_ptr<double>(), *b = fit.b.data_ptr<double>();
  const auto take = [&](int64_t n, const Pixels<2>& image) {
    auto i = n * static_cast<int64_t>(image.values.size());
    for (const auto& value : image.values) {
      a[i] = value[0];
      b[i++] = value[1];
    }
  };
  fit_images(guide.contiguous(), map.contiguous(), radius, epsilon, take);
  return fit;
}

Tensor guided_filter(const Tensor& guide, const Tensor& map, int64_t radius, double epsilon) {
  const Tensor guides = guide.contiguous(), filtered = torch::empty(map.sizes());
  const float* I = guides.data_ptr<float>();
  float* to = filtered.data_ptr<float>();
  const auto take = [&](int64_t n, const Pixels<2>& image) {
    auto i = n * static_cast<int64_t>(image.values.size());
    for (const auto& [a, b] : image.values) {
      to[i] = static_cast<float>(a * I[i] + b);
      ++i;
    }
  };
  fit_images(guides, map.contiguous(), radius, epsilon, take);
  return filtered;
}

Tensor follow_edges(const Tensor& map, const Tensor& images, int64_t radius) {
  if (radius == 0) return map;
  const auto floats = [](const Tensor& values) { return values.to(torch::kCPU, torch::kFloat32); };
  const Tensor guide = floats(images).mean(/*dim=*/1, /*keepdim=*/true);
  return guided_filter(guide, floats(map), radius, kFlat).clamp_(0, 1);
}

Tensor refined(const Tensor& map, const Tensor& images, int64_t radius) {
  constexpr double kSmoothingBeforeEdges = 0.5;
  return follow_edges(smooth(map, radius > 0 ? kSmoothingBeforeEdges : kSmoothing), images, radius);
}

}  // namespace flipside
