#include <algorithm>
#include <cmath>

#include "flipside/data/synth/fruit_parts.h"
#include "flipside/data/synth/paint.h"

namespace flipside::synth {
namespace {

SkinDefect blank_defect(int size, const cv::Vec3f& colour) {
  return {cv::Mat1f::zeros(size, size),
          cv::Mat3f(size, size, cv::Vec3f(colour[0], colour[1], colour[2]))};
}

/// Some crisp, dark, ragged spots of rot.
SkinDefect make_spots(const FruitBody& body, const cv::Mat3f& skin, double unit, Rng& rng) {
  const int size = skin.rows;
  SkinDefect defect = blank_defect(size, near({0.24f, 0.14f, 0.07f}, 0.12, rng));
  const int count = static_cast<int>(rng.between(1, 6));
  const double peak = rng.uniform(0.7, 1);
  for (int i = 0; i < count; ++i)
    draw_blob(defect.coverage,
              random_blob(body.random_point(0, 0.85, rng), unit * log_uniform(rng, 1.8, 5.5), 1.6,
                          0.22, rng),
              rng.uniform(1, 2), peak);
  return defect;
}

/// A wide brown area, soft at its edge and uneven inside.
SkinDefect make_bruise(const FruitBody& body, const cv::Mat3f& skin, double unit, Rng& rng) {
  const int size = skin.rows;
  SkinDefect defect = blank_defect(size, {});
  draw_blob(
      defect.coverage,
      random_blob(body.random_point(0, 0.75, rng), unit * rng.uniform(5, 10.5), 1.7, 0.15, rng),
      unit * rng.uniform(1.5, 3.5), rng.uniform(0.75, 1));
  const cv::Vec3f brown = near({0.42f, 0.26f, 0.12f}, 0.12, rng);
  const double share = rng.uniform(0.6, 0.95);
  const cv::Mat1f mottle = fractal_noise(size, 6 * unit, 3, rng);
  for (int y = 0; y < size; ++y)
    for (int x = 0; x < size; ++x)
      defect.colour(y, x) =
          mix(skin(y, x), brown, share) * static_cast<float>(1 + 0.09 * mottle(y, x));
  return defect;
}

/// A fuzzy patch, white at its edge and often green or grey towards its middle.
SkinDefect make_mould(const FruitBody& body, const cv::Mat3f& skin, double unit, Rng& rng) {
  const int size = skin.rows;
  SkinDefect defect = blank_defect(size, {});
  const Blob patch =
      random_blob(body.random_point(0, 0.75, rng), unit * rng.uniform(4, 9.5), 1.5, 0.2, rng);
  draw_blob(defect.coverage, patch, unit * rng.uniform(1.5, 3));
  const cv::Vec3f rim = near(grey(0.82), 0.06, rng);
  const cv::Vec3f core =
      near(rng.chance(0.6) ? cv::Vec3f(0.40f, 0.50f, 0.42f) : grey(0.72), 0.1, rng);
  const double core_reach = rng.uniform(0.4, 0.8);
  const cv::Mat1f fuzz = fractal_noise(size, 3.5 * unit, 3, rng, 0.8);
  for (int y = 0; y < size; ++y)
    for (int x = 0; x < size; ++x) {
      const double inner = 1 - smooth_step(core_reach - 0.3, core_reach + 0.2, patch.reach(x, y));
      defect.colour(y, x) = mix(rim, core, inner) * static_cast<float>(1 + 0.1 * fuzz(y, x));
      defect.coverage(y, x) *= static_cast<float>(std::clamp(0.95 + 0.25 * fuzz(y, x), 0.0, 1.0));
    }
  return defect;
}

/// Healed wounds: rough, corky lines, tan or dark.
SkinDefect make_scar(const FruitBody& body, const cv::Mat3f& skin, double unit, Rng& rng) {
  const int size = skin.rows;
  const cv::Vec3f cork =
      rng.chance(0.6) ? cv::Vec3f(0.62f, 0.50f, 0.36f) : cv::Vec3f(0.32f, 0.21f, 0.12f);
  SkinDefect defect = blank_defect(size, near(cork, 0.06, rng));
  const int count = static_cast<int>(rng.between(1, 3));
  for (int i = 0; i < count; ++i) {
    Stroke scar{{body.random_point(0, 0.6, rng)}, {unit * rng.uniform(1.4, 3)}};
    const double width = scar.widths[0];
    double course = rng.uniform(0, 2 * M_PI);
    const int pieces = static_cast<int>(rng.between(5, 12));
    for (int k = 0; k < pieces; ++k) {
      course += rng.normal(0, 0.35);
      const double turn = rng.normal(0, 0.35);
      scar.points.push_back(scar.points.back() +
                            unit * rng.uniform(1.5, 3) * direction(course + turn));
      scar.widths.push_back(width * rng.uniform(0.6, 1.5));
    }
    draw_stroke(defect.coverage, scar);
  }
  const cv::Mat1f roughness = fractal_noise(size, 3 * unit, 2, rng);
  for (int y = 0; y < size; ++y)
    for (int x = 0; x < size; ++x)
      defect.colour(y, x) *= static_cast<float>(1 + 0.12 * roughness(y, x));
  return defect;
}

}  // namespace

SkinDefect make_skin_defect(const FruitBody& body, const cv::Mat3f& skin, double unit, Rng& rng) {
  switch (rng.below(4)) {
    case 0:
      return make_spots(body, skin, unit, rng);
    case 1:
      return make_bruise(body, skin, unit, rng);
    case 2:
      return make_mould(body, skin, unit, rng);
    default:
      return make_scar(body, skin, unit, rng);
  }
}

}  // namespace flipside::synth
