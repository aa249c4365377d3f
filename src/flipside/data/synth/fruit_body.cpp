#include <cmath>

#include "flipside/data/synth/fruit_parts.h"
#include "flipside/data/synth/paint.h"

namespace flipside::synth {
namespace {

/// A bump of height 1 at angle 0 that has fallen to 1/e at `width`.
double bump(double angle, double width) {
  const double off = std::remainder(angle, 2 * M_PI) / width;
  return std::exp(-off * off);
}

}  // namespace

double FruitBody::outline(double turn) const {
  double distance = 1;
  for (size_t k = 0; k < waves.size(); ++k)
    distance += waves[k] * std::cos((static_cast<double>(k) + 2) * turn + phases[k]);
  distance += tip * (bump(turn, 0.3) + bump(turn - M_PI, 0.25));
  return distance - dimple * (bump(turn, 0.4) + 0.5 * bump(turn - M_PI, 0.4));
}

cv::Point2d FruitBody::to_frame(cv::Point2d p) const {
  const cv::Point2d off = (p - centre) / radius, along = direction(axis);
  const double stretch = std::sqrt(aspect);
  return {off.dot(along) / stretch, along.cross(off) * stretch};
}

cv::Point2d FruitBody::from_frame(cv::Point2d q) const {
  const cv::Point2d along = direction(axis), across(-along.y, along.x);
  const double stretch = std::sqrt(aspect);
  return centre + radius * (q.x * stretch * along + q.y / stretch * across);
}

double FruitBody::reach(cv::Point2d p) const {
  const cv::Point2d q = to_frame(p);
  return std::hypot(q.x, q.y) / outline(std::atan2(q.y, q.x));
}

cv::Point2d FruitBody::random_point(double low, double high, Rng& rng) const {
  const double turn = rng.uniform(0, 2 * M_PI);
  const double distance = std::sqrt(rng.uniform(low * low, high * high));
  return from_frame(distance * outline(turn) * direction(turn));
}

}  // namespace flipside::synth
