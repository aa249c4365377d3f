#pragma once

#include "flipside/config/config.h"

namespace flipside {

enum class Phase {
  kWarmup,  ///< the discriminator alone, on real images
  kJoint,   ///< both networks (or the only one)
  kAfter,   ///< the discriminator alone, on real images and counterfactuals of the finished
            ///< generator
};

/// Where a training stands: warm-up, joint steps, steps afterwards; the first and the last may be
/// none. Everything that changes over time is a function of the step number and of the warm-up's
/// length, which is part of a training's state, so that a resumed run goes on as the uninterrupted
/// one.
class Schedule {
 public:
  /// Without phases there are the joint steps only.
  Schedule(const TrainConfig& config, bool has_phases)
      : config_(config),
        warmup_(has_phases ? config.discriminator_warmup : 0),
        after_(has_phases ? config.discriminator_after : 0) {}

  int64_t warmup() const { return warmup_; }
  /// A warm-up of another length, from where it stands on (`WarmupControl`).
  void set_warmup(int64_t steps) { warmup_ = steps; }
  int64_t total_steps() const { return warmup_ + config_.steps + after_; }
  /// The one that a step belongs to; the end of the training belongs to the last.
  Phase phase(int64_t step) const;
  /// Factor on the learning rate in [0,1]: linear warm-up from the start and from that of the steps
  /// afterwards, constant, then linear decay to 0 over the last `lr_decay` of the joint steps and
  /// of the steps afterwards.
  double lr_factor(int64_t step) const;
  /// The generator's own: its warm-up begins with the joint steps.
  double generator_lr_factor(int64_t step) const;
  /// Factor on the penalties (5) in [0,1]: grows linearly over the first `ramp` of the joint steps.
  double penalty_factor(int64_t step) const;
  /// Factor on the bound of robust training in [0,1]: grows linearly over the first `robust_ramp`
  /// of all steps. Attacked at full strength from the start, a network may learn to answer by
  /// chance.
  double bound_factor(int64_t step) const;
  /// True in the last phase once the penalties have their full weight and the learning rate has
  /// fallen to half (where it falls at all). Only such models can be "best": accuracy and flip rate
  /// peak long before the counterfactuals have become small and exact.
  bool settled(int64_t step) const;

 private:
  double decay_factor(int64_t step) const;
  int64_t first_after() const { return warmup_ + config_.steps; }

  TrainConfig config_;
  int64_t warmup_, after_;
};

}  // namespace flipside
