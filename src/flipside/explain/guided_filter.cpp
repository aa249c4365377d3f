#include "flipside/explain/guided_filter.h"

#include <algorithm>
#include <vector>

#include "flipside/core/error.h"

namespace flipside {
namespace {

/// Sums over the windows [p - radius, p + radius] of one axis, cut off at its ends: `length` rows
/// of `width` values that belong together, such as the rows of an image, or its pixels (width 1).
/// A running sum, so that the radius costs nothing; in double, so that it does not drift.
void sum_rows(const double* from, double* to, int64_t length, int64_t width, int64_t radius) {
  std::vector<double> sum(width);
  const auto add = [&](int64_t row, double sign) {
    for (int64_t i = 0; i < width; ++i) sum[i] += sign * from[row * width + i];
  };
  for (int64_t row = 0; row < std::min(radius, length); ++row) add(row, 1);
  for (int64_t row = 0; row < length; ++row) {
    if (row + radius < length) add(row + radius, 1);
    if (row - radius - 1 >= 0) add(row - radius - 1, -1);
    std::copy(sum.begin(), sum.end(), to + row * width);
  }
}

/// How many pixels of an axis the window around one has.
int64_t window_length(int64_t at, int64_t length, int64_t radius) {
  return std::min(at + radius, length - 1) - std::max<int64_t>(at - radius, 0) + 1;
}

/// One plane of an image.
struct Plane {
  int64_t height, width;
  std::vector<double> values;
  Plane(int64_t h, int64_t w) : height(h), width(w), values(h * w) {}
};

/// Means over square windows.
Plane box_mean(const Plane& plane, int64_t radius) {
  Plane rows(plane.height, plane.width), mean(plane.height, plane.width);
  sum_rows(plane.values.data(), rows.values.data(), plane.height, plane.width, radius);
  for (int64_t y = 0; y < plane.height; ++y) {
    double* line = mean.values.data() + y * plane.width;
    sum_rows(rows.values.data() + y * plane.width, line, plane.width, /*width=*/1, radius);
    const auto rows_of_window = window_length(y, plane.height, radius);
    for (int64_t x = 0; x < plane.width; ++x)
      line[x] /= static_cast<double>(rows_of_window * window_length(x, plane.width, radius));
  }
  return mean;
}

template <class Function>
Plane combined(const Plane& a, const Plane& b, const Function& function) {
  Plane result(a.height, a.width);
  for (size_t i = 0; i < a.values.size(); ++i)
    result.values[i] = function(a.values[i], b.values[i]);
  return result;
}

Plane plane_of(const Tensor& map) {
  Plane plane(map.size(-2), map.size(-1));
  const float* values = map.data_ptr<float>();
  std::copy(values, values + map.numel(), plane.values.begin());
  return plane;
}

void copy_to(const Plane& plane, const Tensor& map) {
  std::copy(plane.values.begin(), plane.values.end(), map.data_ptr<double>());
}

/// One image: eq. 5 and 6 for the windows' a and b, and their means for eq. 8.
void fit_plane(const Tensor& guide, const Tensor& map, int64_t radius, double epsilon,
               const Tensor& mean_a, const Tensor& mean_b) {
  const auto product = [](double x, double y) { return x * y; };
  const Plane I = plane_of(guide), p = plane_of(map);
  const Plane mean_I = box_mean(I, radius), mean_p = box_mean(p, radius);
  const Plane mean_Ip = box_mean(combined(I, p, product), radius);
  Plane a = box_mean(combined(I, I, product), radius), b = mean_p;
  for (size_t i = 0; i < a.values.size(); ++i) {
    const double m = mean_I.values[i], variance = a.values[i] - m * m;
    a.values[i] = (mean_Ip.values[i] - m * mean_p.values[i]) / (variance + epsilon);
    b.values[i] -= a.values[i] * m;
  }
  copy_to(box_mean(a, radius), mean_a);
  copy_to(box_mean(b, radius), mean_b);
}

}  // namespace

GuidedFit guided_fit(const Tensor& guide, const Tensor& map, int64_t radius, double epsilon) {
  if (map.dim() != 4 || map.size(1) != 1 || guide.sizes() != map.sizes())
    fail(ErrorCode::kArgument, "guided_filter: guide and map must both be [N,1,H,W]");
  if (radius < 1 || !(epsilon > 0))
    fail(ErrorCode::kArgument, "guided_filter: radius {}, epsilon {}: must be >= 1 and > 0", radius,
         epsilon);
  const Tensor guides = guide.contiguous(), maps = map.contiguous();
  const GuidedFit fit{torch::empty_like(maps, torch::kFloat64),
                      torch::empty_like(maps, torch::kFloat64)};
  for (int64_t n = 0; n < maps.size(0); ++n)
    fit_plane(guides[n], maps[n], radius, epsilon, fit.a[n], fit.b[n]);
  return fit;
}

Tensor guided_filter(const Tensor& guide, const Tensor& map, int64_t radius, double epsilon) {
  const GuidedFit fit = guided_fit(guide, map, radius, epsilon);
  return (fit.a * guide + fit.b).to(torch::kFloat32);
}

Tensor follow_edges(const Tensor& map, const Tensor& images, int64_t radius) {
  if (radius == 0) return map;
  const auto floats = [](const Tensor& values) { return values.to(torch::kCPU, torch::kFloat32); };
  const Tensor guide = floats(images).mean(/*dim=*/1, /*keepdim=*/true);
  return guided_filter(guide, floats(map), radius, kFlat).clamp_(0, 1);
}

}  // namespace flipside
