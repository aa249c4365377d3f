#pragma once

#include "flipside/core/torch.h"
#include "flipside/model/model.h"

namespace flipside {

/// How much the identity loss (4) weighs on images of the reference class. A generator that changes
/// whatever it is shown marks good parts like defects, and how heavy the loss must be to prevent it
/// differs from data set to data set. Class labels alone tell: the **false change**, the mean
/// squared change of reference images that are asked to stay, as a share of that of the others that
/// are turned into the reference class. The weight rises while it is above a `goal`, falls back to
/// its own value while it is below, and falls too while fewer than half of these counterfactuals
/// flip, for a generator that does nothing at all needs no holding back (docs/equations.md,
/// "Identity").
class IdentityControl {
 public:
  /// `goal` in (0,1); 0 leaves the factor at 1. `device`: of all tensors.
  explicit IdentityControl(double goal, at::Device device = at::kCPU);

  /// On (4) of reference images: scalar float32, at least 1.
  Tensor factor() const;

  /// What the images of one step say, float64 [5]: `change` [N] is the mean square of each one's
  /// change, `is_kept` and `is_turned` [N] bool say which are reference images asked to stay and
  /// which are others to be turned into the reference class, `has_flipped` [N] bool is read of the
  /// latter. Sums of several processes add up.
  static Tensor count(const Tensor& change, const Tensor& is_kept, const Tensor& is_turned,
                      const Tensor& has_flipped);
  /// Takes the counts of one step. The factor moves where `adjust`, a scalar tensor, is 1, and not
  /// where it is 0.
  void observe(const Tensor& counts, const Tensor& adjust);

  /// "identity.averages" [5] and "identity.log_factor", float64; and back.
  TensorMap state() const;
  void load_state(const TensorMap& state);

 private:
  double goal_;
  Tensor averages_;  ///< of the counts of a step
  Tensor log_factor_;
};

}  // namespace flipside
