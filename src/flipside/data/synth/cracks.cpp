#include <algorithm>
#include <cmath>

#include "flipside/data/synth/paint.h"
#include "flipside/data/synth/synth.h"

namespace flipside::synth {
namespace {

// A crack covers at least and at most these shares of the image.
constexpr double kMinCrackShare = 0.025, kMaxCrackShare = 0.14;
// Share of the light that a dark line or hole swallows. Cracks and everything that is no crack
// draw from the same range: darkness alone must not tell them apart.
double draw_depth(Rng& rng) { return rng.uniform(0.45, 0.85); }
// Likewise their widths, in units.
double draw_width(Rng& rng) { return log_uniform(rng, 1.6, 4.4); }

/// Everything of a photograph but the crack.
struct Wall {
  cv::Mat3f surface;      ///< concrete with stains, joints and pores
  cv::Mat1f wires;        ///< coverage by what hangs in front of the surface
  cv::Vec3f wire_colour;  ///< [0, 1]
  cv::Mat1f light;        ///< uneven light and shadows, a factor
  cv::Mat1f grain;        ///< the camera's noise, added
};

struct Crack {
  cv::Mat1f coverage;  ///< of the dark opening
  cv::Mat1f rim;       ///< of the broken, lighter edge; not part of the mask
  cv::Mat1f depth;     ///< share of the light that the opening swallows
  double rim_strength = 0;
};

cv::Point2d random_point(int size, Rng& rng, double margin = 0) {
  return {size * rng.uniform(margin, 1 - margin), size * rng.uniform(margin, 1 - margin)};
}

/// The same stroke, moved.
Stroke shifted(Stroke stroke, cv::Point2d by) {
  for (auto& point : stroke.points) point += by;
  return stroke;
}

// ---- the wall ----

void add_aggregate(cv::Mat3f& surface, double unit, Rng& rng) {
  const int size = surface.rows;
  const int stones = static_cast<int>(rng.below(70));
  cv::Mat1f light = cv::Mat1f::zeros(size, size), dark = light.clone();
  for (int i = 0; i < stones; ++i) {
    const double radius = unit * log_uniform(rng, 0.6, 3.0);
    const Blob stone = random_blob(random_point(size, rng), radius, 1.8, 0.15, rng);
    draw_blob(rng.chance(0.5) ? light : dark, stone, 1.0, rng.uniform(0.3, 1));
  }
  const double strength = rng.uniform(0.03, 0.16);
  darken(surface, light, -strength);
  darken(surface, dark, strength);
}

void add_stains(cv::Mat3f& surface, double unit, Rng& rng) {
  const int size = surface.rows;
  cv::Mat1f field = fractal_noise(size, rng.uniform(20, 45) * unit, 4, rng);
  const double level = rng.uniform(0, 1), edge = rng.uniform(0.5, 1.5);
  for (float& value : field) value = static_cast<float>(smooth_step(level, level + edge, value));
  darken(surface, field, rng.uniform(0.05, 0.28));
}

cv::Mat3f make_concrete(int size, double unit, Rng& rng) {
  const double brightness = rng.uniform(0.42, 0.78), warmth = rng.normal(0, 0.035);
  const double green = rng.normal(0, 0.012);
  const cv::Vec3f colour(static_cast<float>(brightness * (1 + warmth)),
                         static_cast<float>(brightness * (1 + green)),
                         static_cast<float>(brightness * (1 - warmth)));
  const cv::Mat1f coarse = fractal_noise(size, 24 * unit, 5, rng, 0.65);
  const cv::Mat1f fine = fractal_noise(size, 3 * unit, 2, rng, 0.8);
  const double coarse_height = rng.uniform(0.02, 0.06), fine_height = rng.uniform(0.01, 0.045);
  cv::Mat3f surface(size, size);
  for (int y = 0; y < size; ++y)
    for (int x = 0; x < size; ++x)
      surface(y, x) =
          colour * static_cast<float>(1 + coarse_height * coarse(y, x) + fine_height * fine(y, x));
  add_aggregate(surface, unit, rng);
  if (rng.chance(0.6)) add_stains(surface, unit, rng);
  return surface;
}

/// Straight grooves right across the wall: one, two in parallel, or two that meet.
void add_joints(cv::Mat3f& surface, double unit, Rng& rng) {
  const int size = surface.rows;
  const int count = rng.chance(0.35) ? 2 : 1;
  double angle =
      rng.chance(0.6) ? rng.below(2) * M_PI / 2 + rng.normal(0, 0.06) : rng.uniform(0, M_PI);
  const double width = unit * draw_width(rng), depth = draw_depth(rng);
  const double rim = rng.chance(0.35) ? rng.uniform(0.1, 0.35) : 0;
  cv::Mat1f groove = cv::Mat1f::zeros(size, size), edge = groove.clone();
  for (int i = 0; i < count; ++i) {
    const cv::Point2d middle = random_point(size, rng, 0.1), reach = 1.5 * size * direction(angle);
    const bool ends_here = i == 1 && rng.chance(0.5);
    const Stroke line{{middle - reach, ends_here ? middle : middle + reach}, {width, width}};
    draw_stroke(groove, line);
    draw_stroke(edge, shifted(line, unit * direction(rng.uniform(0, 2 * M_PI))));
    if (rng.chance(0.7)) angle += M_PI / 2;
  }
  darken(surface, edge, -rim);
  darken(surface, groove, depth);
}

/// Round holes left by air bubbles, apart from each other: a chain of them would look like a crack.
void add_pores(cv::Mat3f& surface, double unit, Rng& rng) {
  const int size = surface.rows;
  const int count = static_cast<int>(log_uniform(rng, 1, 22));
  cv::Mat1f holes = cv::Mat1f::zeros(size, size);
  std::vector<Blob> drawn;
  for (int i = 0; i < count; ++i) {
    const double radius = unit * log_uniform(rng, 0.7, 2.6);
    const Blob hole = random_blob(random_point(size, rng), radius, 1.3, 0.04, rng);
    const bool touches = std::any_of(drawn.begin(), drawn.end(), [&](const Blob& other) {
      return cv::norm(hole.centre - other.centre) < 1.3 * (radius + other.radius) + 2 * unit;
    });
    if (touches) continue;
    draw_blob(holes, hole, 1.0, rng.uniform(0.7, 1));
    drawn.push_back(hole);
  }
  darken(surface, holes, draw_depth(rng));
}

/// A smooth curve from side to side: a cubic Bezier curve of even width.
Stroke make_wire(int size, double width, Rng& rng) {
  const double angle = rng.uniform(0, 2 * M_PI);
  const cv::Point2d along = direction(angle), across(-along.y, along.x);
  const cv::Point2d middle = random_point(size, rng, 0.2);
  cv::Point2d control[4];
  for (int i = 0; i < 4; ++i)
    control[i] = middle + size * ((0.6 * i - 0.9) * along + rng.uniform(-0.35, 0.35) * across);
  Stroke wire;
  constexpr int kPieces = 40;
  for (int i = 0; i <= kPieces; ++i) {
    const double t = static_cast<double>(i) / kPieces, s = 1 - t;
    wire.points.push_back(s * s * s * control[0] + 3 * s * s * t * control[1] +
                          3 * s * t * t * control[2] + t * t * t * control[3]);
    wire.widths.push_back(width);
  }
  return wire;
}

/// Wires in front of the wall and the soft shadows that they throw on it.
void add_wires(Wall& wall, double unit, Rng& rng) {
  const int size = wall.surface.rows;
  const int count = rng.chance(0.3) ? 2 : 1;
  const cv::Vec3f ground = wall.surface(size / 2, size / 2);
  const double shade = 1 - draw_depth(rng);
  for (int c = 0; c < 3; ++c)
    wall.wire_colour[c] = static_cast<float>(ground[c] * shade * rng.uniform(0.9, 1.1));
  const cv::Point2d shadow_offset = unit * rng.uniform(1.5, 6) * direction(rng.uniform(0, M_PI));
  const double shadow_strength = rng.chance(0.5) ? rng.uniform(0.1, 0.4) : 0;
  cv::Mat1f shadow = cv::Mat1f::zeros(size, size);
  for (int i = 0; i < count; ++i) {
    const Stroke wire = make_wire(size, unit * draw_width(rng), rng);
    draw_stroke(wall.wires, wire);
    draw_stroke(shadow, shifted(wire, shadow_offset), 2 * unit + 1);
  }
  wall.light = wall.light.mul(1 - shadow_strength * shadow);
}

/// The shadow of something outside the picture: everything beyond a gently curved edge, or a band.
void add_shadow(cv::Mat1f& light, double unit, Rng& rng) {
  const int size = light.rows;
  const cv::Point2d normal = direction(rng.uniform(0, 2 * M_PI));
  const cv::Point2d anchor = random_point(size, rng, 0.15);
  const double band = rng.chance(0.4) ? unit * rng.uniform(2, 12) : 2.0 * size;
  const double softness = unit * log_uniform(rng, 0.8, 6), strength = rng.uniform(0.35, 0.65);
  const double bend = rng.uniform(-0.25, 0.25) / size;
  for (int y = 0; y < size; ++y)
    for (int x = 0; x < size; ++x) {
      const cv::Point2d off = cv::Point2d(x, y) - anchor;
      const double along = off.x * normal.y - off.y * normal.x;
      const double depth = off.dot(normal) + bend * along * along;
      const double inside =
          smooth_step(0, softness, depth) * (1 - smooth_step(band, band + softness, depth));
      light(y, x) *= static_cast<float>(1 - strength * inside);
    }
}

cv::Mat1f make_light(int size, double unit, Rng& rng) {
  const cv::Point2d slope = rng.uniform(0, 0.35) / size * direction(rng.uniform(0, 2 * M_PI));
  const double level = rng.uniform(0.85, 1.15), height = rng.uniform(0, 0.06);
  cv::Mat1f light = fractal_noise(size, 50 * unit, 2, rng);
  for (int y = 0; y < size; ++y)
    for (int x = 0; x < size; ++x) {
      const cv::Point2d off(x - size / 2.0, y - size / 2.0);
      light(y, x) = static_cast<float>(level * (1 + slope.dot(off) + height * light(y, x)));
    }
  return light;
}

Wall make_wall(int size, double unit, Rng& rng) {
  Wall wall;
  wall.surface = make_concrete(size, unit, rng);
  wall.light = make_light(size, unit, rng);
  wall.wires = cv::Mat1f::zeros(size, size);
  if (rng.chance(0.6)) add_joints(wall.surface, unit, rng);
  if (rng.chance(0.7)) add_pores(wall.surface, unit, rng);
  if (rng.chance(0.4)) add_shadow(wall.light, unit, rng);
  if (rng.chance(0.7)) add_wires(wall, unit, rng);
  wall.grain = white_noise(size, rng) * rng.uniform(0.004, 0.014);
  return wall;
}

// ---- the crack ----

/// A walk in short straight pieces that keeps its course but turns sharply from piece to piece;
/// its width wanders, and it narrows towards its end.
Stroke make_walk(cv::Point2d start, double course, double length, double width, double unit,
                 Rng& rng) {
  Stroke walk{{start}, {width}};
  const double jaggedness = rng.uniform(0.55, 0.85);
  double done = 0, swell = 0, turn = 0;
  while (done < length) {
    const double piece = unit * rng.uniform(1.6, 4.5);
    course += rng.normal(0, 0.12);
    // Turning back against the last turn makes teeth instead of arcs.
    turn = std::clamp(jaggedness * rng.normal() - 0.6 * turn, -1.2, 1.2);
    swell = 0.6 * swell + 0.28 * rng.normal();
    done += piece;
    const double taper = smooth_step(0, 0.3, 1 - done / length);
    walk.points.push_back(walk.points.back() + piece * direction(course + turn));
    walk.widths.push_back(width * std::exp(swell) * (0.35 + 0.65 * taper));
  }
  return walk;
}

/// The crack's trunk and its branches.
std::vector<Stroke> make_walks(int size, double unit, Rng& rng) {
  const double course = rng.uniform(0, 2 * M_PI);
  const double length = size * rng.uniform(0.7, 1.6), width = unit * draw_width(rng);
  const cv::Point2d start =
      random_point(size, rng, 0.25) - rng.uniform(0.3, 0.6) * length * direction(course);
  std::vector<Stroke> walks{make_walk(start, course, length, width, unit, rng)};
  const int branches = static_cast<int>(rng.between(1, 4));
  for (int i = 0; i < branches; ++i) {
    const Stroke& trunk = walks[rng.below(static_cast<int64_t>(walks.size()))];
    const int64_t last = static_cast<int64_t>(trunk.points.size()) - 1;
    const auto fork = static_cast<size_t>(last * rng.uniform(0.15, 0.8));
    const double side = rng.chance(0.5) ? 1 : -1;
    Stroke branch = make_walk(trunk.points[fork], course + side * rng.uniform(0.5, 1.2),
                              length * rng.uniform(0.2, 0.5),
                              trunk.widths[fork] * rng.uniform(0.5, 0.85), unit, rng);
    walks.push_back(std::move(branch));
  }
  return walks;
}

Crack make_crack(int size, double unit, Rng& rng) {
  Crack crack;
  crack.coverage = cv::Mat1f::zeros(size, size);
  crack.rim = crack.coverage.clone();
  const cv::Point2d rim_offset = unit * direction(rng.uniform(0, 2 * M_PI));
  crack.rim_strength = rng.chance(0.35) ? rng.uniform(0.1, 0.35) : 0;
  for (const Stroke& walk : make_walks(size, unit, rng)) {
    draw_stroke(crack.coverage, walk);
    if (crack.rim_strength > 0) draw_stroke(crack.rim, shifted(walk, rim_offset));
  }
  const double depth = draw_depth(rng), unevenness = rng.uniform(0, 0.12);
  crack.depth = fractal_noise(size, 8 * unit, 2, rng);
  for (float& value : crack.depth)
    value = static_cast<float>(std::clamp(depth + unevenness * value, 0.3, 0.9));
  return crack;
}

/// The crack as the camera sees it: not where a wire hangs in front of it.
cv::Mat visible_mask(const Wall& wall, const Crack& crack) {
  return to_mask(crack.coverage.mul(1 - wall.wires));
}

/// A crack of which neither too little nor too much is seen; nearly every draw is taken.
Crack make_visible_crack(const Wall& wall, double unit, Rng& rng) {
  for (;;) {
    Crack crack = make_crack(wall.surface.rows, unit, rng);
    const double share =
        cv::countNonZero(visible_mask(wall, crack)) / static_cast<double>(wall.surface.total());
    if (share >= kMinCrackShare && share <= kMaxCrackShare) return crack;
  }
}

// ---- the photograph ----

/// Takes the picture of a wall, with its crack where there is one. Each pixel depends on itself
/// alone, so pictures with and without the crack are equal wherever the crack is not.
cv::Mat photograph(const Wall& wall, const Crack* crack) {
  cv::Mat3f image = wall.surface.clone();
  if (crack != nullptr) {
    darken(image, crack->rim, -crack->rim_strength);
    darken(image, crack->coverage.mul(crack->depth), 1.0);
  }
  cover(image, wall.wires, wall.wire_colour);
  multiply(image, wall.light);
  for (int y = 0; y < image.rows; ++y)
    for (int x = 0; x < image.cols; ++x) image(y, x) += cv::Vec3f::all(wall.grain(y, x));
  return to_8bit(image);
}

}  // namespace

Scene make_crack_scene(int size, bool defect, Rng& rng) {
  // Two streams: what the wall looks like cannot depend on whether it will get a crack.
  Rng wall_rng(rng.next()), crack_rng(rng.next());
  const double unit = size / kUnitsAcross;
  const Wall wall = make_wall(size, unit, wall_rng);
  const cv::Mat clean = photograph(wall, nullptr);
  if (!defect) return {clean.clone(), clean, cv::Mat1b::zeros(size, size)};
  const Crack crack = make_visible_crack(wall, unit, crack_rng);
  return {photograph(wall, &crack), clean, visible_mask(wall, crack)};
}

}  // namespace flipside::synth
