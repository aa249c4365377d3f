#pragma once

#include "flipside/core/torch.h"
#include "flipside/model/model.h"

namespace flipside {

/// How much the penalties on change (5) weigh, per direction, such as "bad > good": "change as
/// little as possible" is meant among the images that flip, so the weight rises while the
/// discriminator gives more than a share `goal` of a direction's counterfactuals their target
/// class, and falls while it gives fewer. A data set whose classes are told apart with ease thus
/// gets small changes, and a hard direction does not stay unflipped; the lambdas need no tuning per
/// data set (docs/equations.md, "Penalties"). Directions are numbers from 0 to D-1.
class PenaltyControl {
 public:
  /// `goal` in (0,1); 0 leaves every factor at 1. `device`: of all tensors.
  PenaltyControl(int64_t num_directions, double goal, at::Device device = at::kCPU);

  /// The factor on (5) of each image, by its direction [N] int64: [N].
  Tensor factors(const Tensor& directions) const;

  /// Per direction, how many of `directions` [N] there are and how many of them are `flipped` [N]
  /// bool: float64 [2,D]. Counts of several processes add up.
  Tensor count(const Tensor& directions, const Tensor& flipped) const;
  /// Takes the counts of one step. The factors move where `adjust`, a scalar tensor, is 1, and not
  /// where it is 0.
  void observe(const Tensor& counts, const Tensor& adjust);

  /// "penalty.flip_rate" and "penalty.log_factor", [D] float64 each; and back.
  TensorMap state() const;
  void load_state(const TensorMap& state);

 private:
  double goal_;
  Tensor numbers_;     ///< [D], 0 to D-1
  Tensor flip_rate_;   ///< [D], a moving average
  Tensor log_factor_;  ///< [D]
};

}  // namespace flipside
