#pragma once

#include "flipside/config/config.h"

namespace flipside {

/// Where a training stands: the discriminator's warm-up comes first, then the joint steps.
/// Everything that changes over time is a function of the step number alone, so that a resumed
/// run goes on as the uninterrupted one.
class Schedule {
 public:
  explicit Schedule(const TrainConfig& config, bool has_warmup)
      : config_(config), warmup_(has_warmup ? config.discriminator_warmup : 0) {}

  int64_t total_steps() const { return warmup_ + config_.steps; }
  bool in_warmup(int64_t step) const { return step < warmup_; }
  /// Factor on the learning rate in [0,1]: linear warm-up from the phase's start, constant, then
  /// linear decay to 0 over the last `lr_decay` of the joint steps.
  double lr_factor(int64_t step) const;
  /// The generator's own: its warm-up begins with the joint steps.
  double generator_lr_factor(int64_t step) const;
  /// Factor on the penalties (5) in [0,1]: grows linearly over the first `ramp` of the joint steps.
  double penalty_factor(int64_t step) const;
  /// True once the penalties have their full weight and the learning rate has fallen to half (where
  /// it falls at all). Only such models can be "best": accuracy and flip rate peak long before the
  /// counterfactuals have become small and exact.
  bool settled(int64_t step) const;

 private:
  double decay_factor(int64_t step) const;

  TrainConfig config_;
  int64_t warmup_;
};

}  // namespace flipside
