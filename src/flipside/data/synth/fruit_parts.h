#pragma once
// The two parts of a fruit scene that do not know of each other's inside: where the fruit is, and
// what is wrong with its skin.

#include <array>
#include <opencv2/core.hpp>

#include "flipside/core/random.h"

namespace flipside::synth {

/// Where the fruit lies and how its outline runs. Seen from its centre the stem is at angle `axis`.
struct FruitBody {
  cv::Point2d centre;
  double radius = 1;  ///< geometric mean of the half axes, pixels
  double aspect = 1;  ///< length along the axis / width
  double axis = 0;    ///< radians
  double tip = 0;     ///< height of the pointed ends, relative to the radius
  double dimple = 0;  ///< depth of the hollow around the stem, likewise
  /// Height, relative to the radius, of the waves with k + 2 periods around the outline.
  std::array<double, 2> waves{}, phases{};

  /// The outline's distance from the centre in the fruit's frame, at angle `turn` from the stem.
  double outline(double turn) const;
  /// From pixels to the fruit's frame: stem to the right, outline near the unit circle.
  cv::Point2d to_frame(cv::Point2d p) const;
  cv::Point2d from_frame(cv::Point2d q) const;
  /// Distance from the centre as a share of the outline's: below 1 is fruit.
  double reach(cv::Point2d p) const;
  /// A random point of the fruit whose reach lies between `low` and `high`, spread evenly.
  cv::Point2d random_point(double low, double high, Rng& rng) const;
};

/// What is wrong with the skin: a pixel becomes skin * (1 - coverage) + colour * coverage.
struct SkinDefect {
  cv::Mat1f coverage;  ///< in [0, 1]
  cv::Mat3f colour;    ///< unlit
};

/// Spots, a bruise, mould or scars, equally likely; may reach over the fruit's outline. `skin` is
/// the unlit skin, `unit` 1/64 of the side in pixels.
SkinDefect make_skin_defect(const FruitBody& body, const cv::Mat3f& skin, double unit, Rng& rng);

}  // namespace flipside::synth
