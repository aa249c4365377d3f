#include "flipside/data/synth/paint.h"

#include <algorithm>
#include <cmath>

namespace flipside::synth {
namespace {

/// One octave of gradient noise, added to `field` with the given height. Its lattice is turned by a
/// random angle, or the rows and columns of pixels would show in the finest octaves.
void add_gradient_noise(cv::Mat1f& field, double period, double height, Rng& rng) {
  const double shift_x = rng.uniform(), shift_y = rng.uniform();
  const cv::Point2d axis = direction(rng.uniform(0, M_PI / 2)) / period;
  // With the turn below a right angle, u >= 0 and v >= -columns / period.
  const int above = static_cast<int>(std::ceil(field.cols / period));
  const int columns = static_cast<int>((field.cols + field.rows) / period) + 3;
  const int rows = above + static_cast<int>(field.rows / period) + 3;
  std::vector<cv::Vec2f> gradients(static_cast<size_t>(rows) * columns);
  for (auto& gradient : gradients) {
    const cv::Point2d vector = direction(rng.uniform(0, 2 * M_PI));
    gradient = {static_cast<float>(vector.x), static_cast<float>(vector.y)};
  }
  const auto ease = [](float t) { return t * t * t * (t * (t * 6 - 15) + 10); };
  for (int y = 0; y < field.rows; ++y)
    for (int x = 0; x < field.cols; ++x) {
      const double u = axis.x * x + axis.y * y + shift_x;
      const double v = axis.x * y - axis.y * x + shift_y + above;
      const int column = static_cast<int>(u), row = static_cast<int>(v);
      const float fx = static_cast<float>(u - column), fy = static_cast<float>(v - row);
      const float ex = ease(fx), ey = ease(fy);
      const auto corner = [&](int i, int j) {
        const cv::Vec2f& g = gradients[static_cast<size_t>(row + j) * columns + column + i];
        return g[0] * (fx - i) + g[1] * (fy - j);
      };
      const float top = corner(0, 0) + ex * (corner(1, 0) - corner(0, 0));
      const float bottom = corner(0, 1) + ex * (corner(1, 1) - corner(0, 1));
      field(y, x) += static_cast<float>(height) * (top + ey * (bottom - top));
    }
}

/// Calls `paint(x, y)` for the pixels of `image` in the box, its sides included.
template <typename Paint>
void for_each_pixel(const cv::Mat1f& image, cv::Point2d low, cv::Point2d high, Paint paint) {
  const int x0 = std::max(0, static_cast<int>(std::floor(low.x)));
  const int y0 = std::max(0, static_cast<int>(std::floor(low.y)));
  const int x1 = std::min(image.cols - 1, static_cast<int>(std::ceil(high.x)));
  const int y1 = std::min(image.rows - 1, static_cast<int>(std::ceil(high.y)));
  for (int y = y0; y <= y1; ++y)
    for (int x = x0; x <= x1; ++x) paint(x, y);
}

/// Share of a window of width `softness`, `distance` away from the middle of a bar, that the bar of
/// the given half width covers.
double bar_coverage(double distance, double half_width, double softness) {
  const double low = std::max(-half_width, distance - softness / 2);
  const double high = std::min(half_width, distance + softness / 2);
  return std::max(0.0, high - low) / softness;
}

}  // namespace

cv::Mat1f fractal_noise(int size, double period, int octaves, Rng& rng, double roughness) {
  // One octave of two-dimensional gradient noise with unit gradients has about this deviation.
  constexpr double kOctaveDeviation = 0.25;
  double variance = 0;
  for (int i = 0; i < octaves; ++i) variance += std::pow(roughness, 2 * i);
  double height = 1 / (kOctaveDeviation * std::sqrt(variance));
  cv::Mat1f field = cv::Mat1f::zeros(size, size);
  for (int i = 0; i < octaves; ++i, period /= 2, height *= roughness)
    add_gradient_noise(field, period, height, rng);
  return field;
}

cv::Mat1f white_noise(int size, Rng& rng) {
  cv::Mat1f field(size, size);
  for (float& value : field) value = static_cast<float>(rng.normal());
  return field;
}

double log_uniform(Rng& rng, double low, double high) {
  return low * std::pow(high / low, rng.uniform());
}

cv::Point2d direction(double angle) { return {std::cos(angle), std::sin(angle)}; }

cv::Vec3f grey(double value) { return cv::Vec3f::all(static_cast<float>(value)); }

cv::Vec3f mix(const cv::Vec3f& a, const cv::Vec3f& b, double share) {
  return a + (b - a) * static_cast<float>(share);
}

cv::Vec3f near(const cv::Vec3f& colour, double deviation, Rng& rng) {
  cv::Vec3f moved = colour;
  for (int c = 0; c < 3; ++c) moved[c] *= static_cast<float>(std::exp(rng.normal(0, deviation)));
  return moved;
}

double smooth_step(double low, double high, double x) {
  const double t = std::clamp((x - low) / (high - low), 0.0, 1.0);
  return t * t * (3 - 2 * t);
}

void draw_stroke(cv::Mat1f& coverage, const Stroke& stroke, double softness) {
  for (size_t i = 0; i + 1 < stroke.points.size(); ++i) {
    const cv::Point2d a = stroke.points[i], b = stroke.points[i + 1], along = b - a;
    const double wa = stroke.widths[i], wb = stroke.widths[i + 1];
    const double square = std::max(1e-9, along.dot(along));
    const double margin = (std::max(wa, wb) + softness) / 2;
    const cv::Point2d low(std::min(a.x, b.x) - margin, std::min(a.y, b.y) - margin);
    const cv::Point2d high(std::max(a.x, b.x) + margin, std::max(a.y, b.y) + margin);
    for_each_pixel(coverage, low, high, [&](int x, int y) {
      const cv::Point2d p(x, y);
      const double t = std::clamp((p - a).dot(along) / square, 0.0, 1.0);
      const cv::Point2d off = p - a - t * along;
      const double half_width = (wa + t * (wb - wa)) / 2;
      const double share = bar_coverage(std::sqrt(off.dot(off)), half_width, softness);
      coverage(y, x) = std::max(coverage(y, x), static_cast<float>(share));
    });
  }
}

double Blob::reach(double x, double y) const {
  const double dx = x - centre.x, dy = y - centre.y;
  const double stretch = std::sqrt(aspect);
  const double u = (std::cos(angle) * dx + std::sin(angle) * dy) / stretch;
  const double v = (std::cos(angle) * dy - std::sin(angle) * dx) * stretch;
  const double turn = std::atan2(v, u);
  double outline = 1;
  for (int k = 0; k < kWaves; ++k) outline += waves[k] * std::cos((k + 2) * turn + phases[k]);
  return std::hypot(u, v) / (radius * outline);
}

Blob random_blob(cv::Point2d centre, double radius, double max_aspect, double roughness, Rng& rng) {
  Blob blob;
  blob.centre = centre;
  blob.radius = radius;
  blob.aspect = rng.uniform(1, max_aspect);
  blob.angle = rng.uniform(0, M_PI);
  for (int k = 0; k < Blob::kWaves; ++k) {
    blob.waves[k] = roughness * rng.uniform(-1, 1) / (k + 1);
    blob.phases[k] = rng.uniform(0, 2 * M_PI);
  }
  return blob;
}

void draw_blob(cv::Mat1f& coverage, const Blob& blob, double softness, double peak) {
  double swell = 1;
  for (double wave : blob.waves) swell += std::abs(wave);
  const double margin = blob.radius * std::sqrt(blob.aspect) * swell + softness;
  const cv::Point2d corner(margin, margin);
  for_each_pixel(coverage, blob.centre - corner, blob.centre + corner, [&](int x, int y) {
    const double inside = (1 - blob.reach(x, y)) * blob.radius;  // about the depth in pixels
    const double share = peak * std::clamp(inside / softness + 0.5, 0.0, 1.0);
    coverage(y, x) = std::max(coverage(y, x), static_cast<float>(share));
  });
}

void darken(cv::Mat3f& image, const cv::Mat1f& coverage, double strength) {
  for (int y = 0; y < image.rows; ++y)
    for (int x = 0; x < image.cols; ++x)
      image(y, x) *= static_cast<float>(1 - strength * coverage(y, x));
}

void cover(cv::Mat3f& image, const cv::Mat1f& coverage, const cv::Vec3f& colour) {
  for (int y = 0; y < image.rows; ++y)
    for (int x = 0; x < image.cols; ++x) image(y, x) += (colour - image(y, x)) * coverage(y, x);
}

void multiply(cv::Mat3f& image, const cv::Mat1f& field) {
  for (int y = 0; y < image.rows; ++y)
    for (int x = 0; x < image.cols; ++x) image(y, x) *= field(y, x);
}

cv::Mat to_8bit(const cv::Mat3f& image) {
  cv::Mat3b bytes(image.size());
  for (int y = 0; y < image.rows; ++y)
    for (int x = 0; x < image.cols; ++x)
      for (int c = 0; c < 3; ++c)
        bytes(y, x)[c] =
            static_cast<uchar>(std::lround(255 * std::clamp(image(y, x)[c], 0.0f, 1.0f)));
  return std::move(bytes);
}

cv::Mat to_mask(const cv::Mat1f& coverage) {
  cv::Mat1b mask(coverage.size());
  for (int y = 0; y < mask.rows; ++y)
    for (int x = 0; x < mask.cols; ++x) mask(y, x) = coverage(y, x) >= 0.5f ? 255 : 0;
  return std::move(mask);
}

}  // namespace flipside::synth
