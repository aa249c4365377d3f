#pragma once

#include <string>
#include <vector>

#include "flipside/core/random.h"
#include "flipside/core/torch.h"

namespace flipside {

/// How a change of an image is measured: its greatest change of a value, or its Euclidean length.
enum class Norm { kLinf, kL2 };
const char* to_string(Norm norm);

/// What an attacker may do: change an image by at most `eps` in `norm`, within [0,1].
///
/// Images [N,C,H,W] in [0,1]. Every attack is written once against this; what differs
/// between the norms is here, or in the attack's own paper.
struct ThreatModel {
  Norm norm = Norm::kLinf;
  double eps = 0;  ///< in [0,1] units: 8/255 is 0.0314; an L2 bound may exceed 1
  /// Undefined, or a float64 scalar that takes the place of eps in `project` and `bound`: one that
  /// moves from step to step and that a captured CUDA graph reads anew.
  Tensor moving_eps{};

  /// eps, as a float64 scalar.
  Tensor bound() const;

  /// The nearest images [N,C,H,W] that lie within the ball around `images`, then clamped to [0,1].
  /// Clamping moves no image away from another in [0,1], so the result lies in both.
  Tensor project(const Tensor& attacked, const Tensor& images) const;
  /// One step of steepest ascent along `gradient`: sizes `step` [N] times the gradient's sign
  /// (L-inf) or direction (L2). Not projected. An image without gradient stays where it is.
  Tensor ascend(const Tensor& attacked, const Tensor& gradient, const Tensor& step) const;
  /// A point drawn uniformly from the ball (L-inf: from the part of it within [0,1]).
  /// `streams`: N generators, one per image.
  Tensor random_start(const Tensor& images, std::vector<Rng>& streams) const;
  /// True [N] where the change is within `eps`, but for float rounding, and [0,1].
  Tensor allows(const Tensor& attacked, const Tensor& images) const;
};

/// Numbers [N,...] of shape `sizes` float32 on the CPU, uniform in [0,1) or Gaussian of
/// deviation 1. `streams`: N generators, so that an image's numbers do not depend on the others.
Tensor uniform_noise(at::IntArrayRef sizes, std::vector<Rng>& streams);
Tensor gaussian_noise(at::IntArrayRef sizes, std::vector<Rng>& streams);

/// The images within `bound` (L-inf, a scalar) and [0,1] that `uniform` [N,C,H,W] in [0,1) names: 0
/// the darkest, 1 the brightest allowed value of each pixel.
Tensor linf_start(const Tensor& images, const Tensor& bound, const Tensor& uniform);

/// Size of each image's change in the norm: [N].
Tensor change_size(Norm norm, const Tensor& attacked, const Tensor& images);

/// The bound that allows every image of the given shape: 1, or the diagonal of the unit cube.
double full_range(Norm norm, const Tensor& images);

/// Generators for the images with these numbers: the same image draws the same, whatever batch it
/// is in. `work` tells pieces of work (attack, eps) apart.
std::vector<Rng> image_streams(uint64_t seed, uint64_t work, const std::vector<int64_t>& images);

/// [N] -> [N,1,1,1], to multiply images with.
inline Tensor per_image(const Tensor& values) { return values.view({-1, 1, 1, 1}); }

}  // namespace flipside
