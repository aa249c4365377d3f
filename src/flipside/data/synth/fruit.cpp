#include <algorithm>
#include <array>
#include <cmath>

#include "flipside/data/synth/fruit_parts.h"
#include "flipside/data/synth/paint.h"
#include "flipside/data/synth/synth.h"

namespace flipside::synth {
namespace {

// The defect covers at least and at most these shares of the image.
constexpr double kMinSpotShare = 0.012, kMaxSpotShare = 0.13;

/// A kind of fruit: its shape and the two colours that its skin wanders between.
struct Species {
  cv::Vec3f colour, second_colour;
  double max_aspect;  ///< how long it may be for its width
  double tip;         ///< height of the pointed end, relative to the radius
  double dimple;      ///< depth of the hollow around the stem, likewise
  double pores;       ///< darkness of the dots in its skin
};

const std::array<Species, 4> kSpecies{{
    {{0.93f, 0.80f, 0.16f}, {0.80f, 0.80f, 0.25f}, 1.35, 0.13, 0.00, 0.10},  // lemon
    {{0.78f, 0.14f, 0.12f}, {0.88f, 0.62f, 0.25f}, 1.08, 0.00, 0.12, 0.00},  // red apple
    {{0.55f, 0.70f, 0.20f}, {0.80f, 0.76f, 0.32f}, 1.08, 0.00, 0.12, 0.00},  // green apple
    {{0.95f, 0.52f, 0.10f}, {0.95f, 0.66f, 0.18f}, 1.06, 0.00, 0.03, 0.14},  // orange
}};

/// Everything of a photograph but the defect.
struct Still {
  FruitBody body;
  cv::Mat3f ground;      ///< lit, with the fruit's shadow on it
  cv::Mat3f skin;        ///< colour of the whole skin, unlit
  cv::Mat1f silhouette;  ///< coverage by the fruit
  cv::Mat1f stem;        ///< coverage by stem and calyx, on top of the skin
  cv::Vec3f stem_colour;
  cv::Mat1f light;      ///< on the fruit, a factor
  cv::Mat1f highlight;  ///< white, added
  cv::Mat1f grain;      ///< the camera's noise, added
};

// ---- the scene ----

FruitBody make_body(int size, const Species& species, Rng& rng) {
  FruitBody body;
  body.centre = {size * rng.uniform(0.43, 0.57), size * rng.uniform(0.43, 0.57)};
  body.radius = size * rng.uniform(0.28, 0.38);
  body.aspect = rng.uniform(1, species.max_aspect);
  body.axis = rng.uniform(0, 2 * M_PI);
  body.tip = species.tip * rng.uniform(0.6, 1.3);
  body.dimple = species.dimple * rng.uniform(0.6, 1.3);
  for (size_t k = 0; k < body.waves.size(); ++k) {
    body.waves[k] = rng.uniform(0, 0.035);
    body.phases[k] = rng.uniform(0, 2 * M_PI);
  }
  return body;
}

/// Cloth, stone, or boards with their grain along one side.
cv::Mat3f make_ground(int size, double unit, Rng& rng) {
  const bool boards = rng.chance(0.35);
  const double level = rng.uniform(0.18, 0.85);
  const cv::Vec3f tint = near(boards ? cv::Vec3f(1.15f, 0.95f, 0.72f) : grey(1), 0.09, rng);
  const cv::Mat1f coarse = fractal_noise(size, 20 * unit, 4, rng, 0.6);
  const cv::Mat1f fine = fractal_noise(size, 2.5 * unit, 2, rng);
  const double coarse_height = rng.uniform(0.02, 0.12), fine_height = rng.uniform(0.005, 0.06);
  const bool upright = rng.chance(0.5);
  cv::Mat3f ground(size, size);
  for (int y = 0; y < size; ++y)
    for (int x = 0; x < size; ++x) {
      // Along a board only every sixteenth sample of the field is met.
      const float broad = !boards ? coarse(y, x) : upright ? coarse(y / 16, x) : coarse(y, x / 16);
      ground(y, x) =
          tint * static_cast<float>(level * (1 + coarse_height * broad + fine_height * fine(y, x)));
    }
  return ground;
}

/// Crumbs and specks on the ground, as dark or light as the defects.
void add_crumbs(cv::Mat3f& ground, double unit, Rng& rng) {
  const int size = ground.rows, count = static_cast<int>(rng.below(7));
  for (int i = 0; i < count; ++i) {
    cv::Mat1f crumb = cv::Mat1f::zeros(size, size);
    const cv::Point2d where(size * rng.uniform(), size * rng.uniform());
    draw_blob(crumb, random_blob(where, unit * log_uniform(rng, 0.8, 3), 1.8, 0.2, rng));
    cover(ground, crumb,
          near(rng.chance(0.6) ? cv::Vec3f(0.3f, 0.2f, 0.12f) : grey(0.8), 0.08, rng));
  }
}

/// Skin between the species' two colours, with streaks or patches, pores and natural speckle.
cv::Mat3f make_skin(int size, double unit, const Species& species, const FruitBody& body,
                    Rng& rng) {
  const cv::Vec3f first = near(species.colour, 0.06, rng);
  const cv::Vec3f second = near(species.second_colour, 0.06, rng);
  const cv::Mat1f patches = fractal_noise(size, 26 * unit, 3, rng);
  const cv::Mat1f pores = fractal_noise(size, 2.2 * unit, 1, rng);
  const double balance = rng.normal(-0.9, 0.6), ridge = species.pores * rng.uniform(0.3, 1);
  cv::Mat3f skin(size, size);
  for (int y = 0; y < size; ++y)
    for (int x = 0; x < size; ++x) {
      const double share = smooth_step(-1.2, 1.2, patches(y, x) + balance);
      skin(y, x) = mix(first, second, share) * static_cast<float>(1 + ridge * pores(y, x));
    }
  cv::Mat1f speckle = cv::Mat1f::zeros(size, size);
  const int dots = static_cast<int>(log_uniform(rng, 1, 40));
  for (int i = 0; i < dots; ++i)
    draw_blob(speckle, random_blob(body.random_point(0, 0.97, rng),
                                   unit * log_uniform(rng, 0.35, 0.95), 1.3, 0.05, rng));
  darken(skin, speckle, rng.uniform(-0.25, 0.65));
  return skin;
}

/// Light on a body that is round towards the viewer, from upper left or right.
void add_light(Still& still, double unit, Rng& rng) {
  const int size = still.skin.rows;
  const cv::Point2d from = rng.uniform(0.25, 0.75) * direction(-rng.uniform(0.15, 0.85) * M_PI);
  const double height = std::sqrt(1 - from.dot(from));
  const double ambient = rng.uniform(0.35, 0.6), level = rng.uniform(0.85, 1.2);
  const double gloss = rng.uniform(0, 0.75), sharpness = log_uniform(rng, 12, 70);
  still.light = cv::Mat1f::zeros(size, size);
  still.highlight = still.light.clone();
  for (int y = 0; y < size; ++y)
    for (int x = 0; x < size; ++x) {
      const cv::Point2d p(x, y), off = p - still.body.centre;
      const double reach = std::min(0.999, still.body.reach(p));
      const double norm = std::max(1e-6, std::sqrt(off.dot(off)));
      const double up = std::sqrt(1 - reach * reach);
      const double facing = std::max(0.0, (off / norm).dot(from) * reach + up * height);
      // The mirror direction of a viewer straight above, halved with the light (Blinn 1977).
      const double half = std::sqrt(2 * (1 + height));
      const double mirror =
          std::max(0.0, ((off / norm).dot(from) * reach + up * (height + 1)) / half);
      still.light(y, x) = static_cast<float>(level * (ambient + (1 - ambient) * facing));
      still.highlight(y, x) = static_cast<float>(gloss * std::pow(mirror, sharpness));
    }
  const cv::Point2d fall =
      -rng.uniform(2, 7) * unit / std::max(0.1, std::hypot(from.x, from.y)) * from;
  cv::Mat1f shadow(size, size);
  for (int y = 0; y < size; ++y)
    for (int x = 0; x < size; ++x)
      shadow(y, x) = static_cast<float>(
          1 - smooth_step(0.85, 1.25, still.body.reach(cv::Point2d(x, y) - fall)));
  darken(still.ground, shadow, rng.uniform(0.3, 0.75));
}

/// The soft shadow of a twig across fruit and ground, or of a leaf over the fruit's edge: as dark
/// and as large as a bruise.
void add_cast_shadow(Still& still, double unit, Rng& rng) {
  const int size = still.skin.rows;
  cv::Mat1f shadow = cv::Mat1f::zeros(size, size);
  const double softness = unit * rng.uniform(2, 6), strength = rng.uniform(0.2, 0.5);
  if (rng.chance(0.5)) {
    const cv::Point2d where = still.body.random_point(0, 0.9, rng);
    const cv::Point2d reach = 2.0 * size * direction(rng.uniform(0, 2 * M_PI));
    const double width = unit * rng.uniform(2.5, 8);
    draw_stroke(shadow, {{where - reach, where + reach}, {width, width}}, softness);
  } else {
    const cv::Point2d where = still.body.random_point(0.9, 1.15, rng);
    draw_blob(shadow, random_blob(where, unit * rng.uniform(6, 14), 2, 0.08, rng), softness);
  }
  darken(still.ground, shadow, strength);
  still.light = still.light.mul(1 - strength * shadow);
  still.highlight = still.highlight.mul(1 - shadow);
}

/// A stem or only the dark star that it left; sometimes on the side that is not seen.
void add_stem(Still& still, double unit, Rng& rng) {
  const int size = still.skin.rows;
  const FruitBody& body = still.body;
  still.stem = cv::Mat1f::zeros(size, size);
  still.stem_colour = near(
      rng.chance(0.7) ? cv::Vec3f(0.28f, 0.19f, 0.1f) : cv::Vec3f(0.3f, 0.42f, 0.14f), 0.2, rng);
  if (rng.chance(0.15)) return;
  const cv::Point2d root = body.from_frame({rng.uniform(0.35, 0.92) * body.outline(0), 0});
  Blob calyx = random_blob(root, unit * rng.uniform(1.2, 3.2), 1.4, 0.1, rng);
  calyx.waves[3] = rng.uniform(0, 0.3);  // a star of five points
  draw_blob(still.stem, calyx, 1.0, rng.uniform(0.7, 1));
  if (rng.chance(0.5)) {
    const double angle = body.axis + rng.normal(0, 0.5), length = unit * rng.uniform(3, 11);
    const cv::Point2d bend = root + 0.5 * length * direction(angle);
    const cv::Point2d end = bend + 0.5 * length * direction(angle + rng.normal(0, 0.4));
    const double width = unit * rng.uniform(1.2, 2.4);
    draw_stroke(still.stem, {{root, bend, end}, {width, width, 1.3 * width}});
  }
}

Still make_still(int size, double unit, Rng& rng) {
  Still still;
  const Species& species = kSpecies[static_cast<size_t>(rng.below(kSpecies.size()))];
  still.body = make_body(size, species, rng);
  still.ground = make_ground(size, unit, rng);
  add_crumbs(still.ground, unit, rng);
  still.skin = make_skin(size, unit, species, still.body, rng);
  add_light(still, unit, rng);
  if (rng.chance(0.45)) add_cast_shadow(still, unit, rng);
  add_stem(still, unit, rng);
  still.silhouette.create(size, size);
  for (int y = 0; y < size; ++y)
    for (int x = 0; x < size; ++x) {
      const double inside = (1 - still.body.reach(cv::Point2d(x, y))) * still.body.radius;
      still.silhouette(y, x) = static_cast<float>(std::clamp(inside + 0.5, 0.0, 1.0));
    }
  still.grain = white_noise(size, rng) * rng.uniform(0.004, 0.018);
  return still;
}

/// The defect as the camera sees it: on the fruit, and not behind the stem.
cv::Mat visible_mask(const Still& still, const SkinDefect& defect) {
  return to_mask(defect.coverage.mul(still.silhouette).mul(1 - still.stem));
}

/// A defect of which neither too little nor too much is seen; most draws are taken.
SkinDefect make_visible_defect(const Still& still, double unit, Rng& rng) {
  for (;;) {
    SkinDefect defect = make_skin_defect(still.body, still.skin, unit, rng);
    const double share =
        cv::countNonZero(visible_mask(still, defect)) / static_cast<double>(still.skin.total());
    if (share >= kMinSpotShare && share <= kMaxSpotShare) return defect;
  }
}

// ---- the photograph ----

/// Takes the picture of a fruit, with its defect where there is one. Each pixel depends on itself
/// alone, so pictures with and without the defect are equal wherever the defect is not.
cv::Mat photograph(const Still& still, const SkinDefect* defect) {
  cv::Mat3f image = still.ground.clone();
  for (int y = 0; y < image.rows; ++y)
    for (int x = 0; x < image.cols; ++x) {
      cv::Vec3f skin = still.skin(y, x);
      float gloss = still.highlight(y, x);
      if (defect != nullptr) {
        skin = mix(skin, defect->colour(y, x), defect->coverage(y, x));
        gloss *= 1 - 0.7f * defect->coverage(y, x);  // broken skin is dull
      }
      skin = mix(skin * still.light(y, x), grey(1), gloss);
      image(y, x) = mix(image(y, x), skin, still.silhouette(y, x));
      image(y, x) = mix(image(y, x), still.stem_colour * still.light(y, x), still.stem(y, x));
      image(y, x) += grey(still.grain(y, x));
    }
  return to_8bit(image);
}

}  // namespace

Scene make_fruit_scene(int size, bool defect, Rng& rng) {
  // Two streams: what the fruit looks like cannot depend on whether it will get a defect.
  Rng still_rng(rng.next()), defect_rng(rng.next());
  const double unit = size / kUnitsAcross;
  const Still still = make_still(size, unit, still_rng);
  const cv::Mat clean = photograph(still, nullptr);
  if (!defect) return {clean.clone(), clean, cv::Mat1b::zeros(size, size)};
  const SkinDefect flaw = make_visible_defect(still, unit, defect_rng);
  return {photograph(still, &flaw), clean, visible_mask(still, flaw)};
}

}  // namespace flipside::synth
