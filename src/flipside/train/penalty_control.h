#pragma once

#include "flipside/core/torch.h"
#include "flipside/model/model.h"

namespace flipside {

/// How much the penalties on change (5) weigh, per target class: "change as little as possible" is
/// meant among the images that flip, so the weight rises while the discriminator gives more than a
/// share `goal` of a class's counterfactuals that class, and falls while it gives fewer. A data
/// set whose classes are told apart with ease thus gets small changes, and a hard direction does
/// not stay unflipped; the lambdas need no tuning per data set (docs/equations.md, "Penalties").
class PenaltyControl {
 public:
  /// `goal` in (0,1); 0 leaves every factor at 1. `device`: of the targets.
  PenaltyControl(int64_t num_classes, double goal, at::Device device = at::kCPU);

  /// The factor on (5) of each image, by its target class [N]: [N].
  Tensor factors(const Tensor& targets) const;

  /// Per class, how many of `targets` [N] there are and how many of them are `flipped` [N] bool:
  /// float64 [2,K]. Counts of several processes add up.
  Tensor count(const Tensor& targets, const Tensor& flipped) const;
  /// Takes the counts of one step. The factors move where `adjust`, a scalar tensor, is 1, and not
  /// where it is 0.
  void observe(const Tensor& counts, const Tensor& adjust);

  /// "penalty.flip_rate" and "penalty.log_factor", [K] float64 each; and back.
  TensorMap state() const;
  void load_state(const TensorMap& state);

 private:
  double goal_;
  Tensor classes_;     ///< [K], 0 to K-1
  Tensor flip_rate_;   ///< [K], a moving average
  Tensor log_factor_;  ///< [K]
};

}  // namespace flipside
