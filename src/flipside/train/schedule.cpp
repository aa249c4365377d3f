#include "flipside/train/schedule.h"

#include <algorithm>

namespace flipside {
namespace {

double linear_rise(int64_t step, double length) {
  return length <= 0 ? 1.0 : std::clamp(static_cast<double>(step + 1) / length, 0.0, 1.0);
}

}  // namespace

Phase Schedule::phase(int64_t step) const {
  if (step < warmup_) return Phase::kWarmup;
  return after_ > 0 && step >= first_after() ? Phase::kAfter : Phase::kJoint;
}

double Schedule::decay_factor(int64_t step) const {
  const bool is_after = phase(step) == Phase::kAfter;
  const double steps = static_cast<double>(is_after ? after_ : config_.steps);
  const double left = steps - static_cast<double>(step - (is_after ? first_after() : warmup_));
  const double decay_steps = config_.lr_decay * steps;
  return decay_steps <= 0 ? 1.0 : std::clamp(left / decay_steps, 0.0, 1.0);
}

double Schedule::lr_factor(int64_t step) const {
  const int64_t begin = phase(step) == Phase::kAfter ? first_after() : 0;
  return linear_rise(step - begin, static_cast<double>(config_.lr_warmup)) * decay_factor(step);
}

double Schedule::generator_lr_factor(int64_t step) const {
  return linear_rise(step - warmup_, static_cast<double>(config_.lr_warmup)) * decay_factor(step);
}

double Schedule::penalty_factor(int64_t step) const {
  return linear_rise(step - warmup_, config_.ramp * static_cast<double>(config_.steps));
}

double Schedule::bound_factor(int64_t step) const {
  return linear_rise(step, config_.robust_ramp * static_cast<double>(total_steps()));
}

bool Schedule::settled(int64_t step) const {
  const bool decays = config_.lr_decay > 0;
  const bool is_last = after_ == 0 || phase(step) == Phase::kAfter;
  return is_last && penalty_factor(step) >= 1.0 && (!decays || decay_factor(step) <= 0.5);
}

}  // namespace flipside
