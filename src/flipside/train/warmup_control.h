#pragma once

#include "flipside/core/torch.h"

namespace flipside {

/// When the discriminator's warm-up ends. A generator has nothing to learn from a discriminator
/// that cannot tell the classes, which in turn hardly learns once it is there: where the loss on
/// real images says at the end of the warm-up that nothing was learned (small defects on parts with
/// much to look at), it goes on, with a falling learning rate, until something was. Where something
/// was, all is as without this control.
class WarmupControl {
 public:
  /// `least` and `most` steps; no longer than `least` where that is the larger one, or too short
  /// for a mean.
  WarmupControl(int64_t least, int64_t most, int64_t num_classes);

  /// Of the warm-up, as far as is known: `least`; `most` while it goes on; then where it ended.
  int64_t steps() const { return steps_; }
  /// On the learning rate of a step of the warm-up: 1 for the first `least`, then least / step,
  /// but a fifth at least. Smaller steps are what gets a discriminator off that has stayed where it
  /// began.
  double lr_factor(int64_t step) const;

  /// Takes the loss of real images in the warm-up's step number `step`, from 1 on.
  void observe(int64_t step, double loss);

  /// "warmup.loss", its running mean, float64, and "warmup.steps", int64; and back.
  TensorMap state() const;
  /// A state without them, of an earlier version, is left out.
  void load_state(const TensorMap& state);

 private:
  bool goes_on() const { return steps_ > least_; }

  int64_t least_, most_, steps_;
  double chance_;  ///< loss of who knows nothing
  double mean_ = 0;
};

}  // namespace flipside
