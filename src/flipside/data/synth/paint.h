#pragma once
// What the procedural scenes are painted with: noise fields, strokes and blobs with exact edges,
// and the few ways to lay them over a picture. Lengths are in pixels, pixel (x, y) has its centre
// at (x, y), colours are linear in [0, 1]. Everything draws its chance from the `Rng` it is given
// and from nothing else. In the scenes `unit` is 1/64 of the image's side in pixels and every
// length is a multiple of it, so that they look the same at every size.

#include <array>
#include <opencv2/core.hpp>
#include <vector>

#include "flipside/core/random.h"

namespace flipside::synth {

constexpr double kUnitsAcross = 64;

/// Sum of `octaves` layers of gradient noise (Perlin 1985), each of half the period and `roughness`
/// times the height of the one before. Zero mean, deviation about 1; size x size.
cv::Mat1f fractal_noise(int size, double period, int octaves, Rng& rng, double roughness = 0.5);

/// Independent Gaussian noise of mean 0 and deviation 1.
cv::Mat1f white_noise(int size, Rng& rng);

/// Uniform in the logarithm: halves and doubles are equally likely. 0 < low <= high.
double log_uniform(Rng& rng, double low, double high);

/// The unit vector at `angle` radians.
cv::Point2d direction(double angle);

/// The colour of that brightness without hue.
cv::Vec3f grey(double value);
/// a * (1 - share) + b * share.
cv::Vec3f mix(const cv::Vec3f& a, const cv::Vec3f& b, double share);
/// The colour with each channel scaled at random, by a factor whose logarithm has this deviation.
cv::Vec3f near(const cv::Vec3f& colour, double deviation, Rng& rng);

/// 0 below `low`, 1 above `high`, smooth between.
double smooth_step(double low, double high, double x);

/// A line through `points` with a full width at each of them; `widths` has as many entries.
struct Stroke {
  std::vector<cv::Point2d> points;
  std::vector<double> widths;
};

/// Raises `coverage` to the share of each pixel that the stroke covers, measured across it;
/// `softness` >= 1 is the width of the edge (1: anti-aliased).
void draw_stroke(cv::Mat1f& coverage, const Stroke& stroke, double softness = 1.0);

/// A closed outline around `centre`: an ellipse whose radius swells and shrinks with the angle.
struct Blob {
  static constexpr int kWaves = 5;
  cv::Point2d centre;
  double radius = 1;  ///< geometric mean of the half axes
  double aspect = 1;  ///< long half axis / short half axis
  double angle = 0;   ///< of the long axis, radians
  /// Height of the wave with k + 2 periods around the outline, relative to the radius.
  std::array<double, kWaves> waves{};
  std::array<double, kWaves> phases{};

  /// Distance of (x, y) from the centre as a share of the outline's there: below 1 is inside.
  double reach(double x, double y) const;
};

/// A blob of the given radius with random aspect (at most `max_aspect`), turn and waves of about
/// `roughness`.
Blob random_blob(cv::Point2d centre, double radius, double max_aspect, double roughness, Rng& rng);

/// Raises `coverage` to `peak` inside the blob; `softness` is the width of the edge in pixels.
void draw_blob(cv::Mat1f& coverage, const Blob& blob, double softness = 1.0, double peak = 1.0);

/// image * (1 - strength * coverage): dirt, pores, cracks, shadows.
void darken(cv::Mat3f& image, const cv::Mat1f& coverage, double strength);

/// image * (1 - coverage) + colour * coverage: something that lies on top.
void cover(cv::Mat3f& image, const cv::Mat1f& coverage, const cv::Vec3f& colour);

/// image * field, for light.
void multiply(cv::Mat3f& image, const cv::Mat1f& field);

/// Clamps to [0, 1] and rounds to 8 bit.
cv::Mat to_8bit(const cv::Mat3f& image);

/// 255 where the coverage is a half or more.
cv::Mat to_mask(const cv::Mat1f& coverage);

}  // namespace flipside::synth
