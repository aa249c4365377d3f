#include "flipside/train/identity_control.h"

#include "flipside/train/steering.h"

namespace flipside {
namespace {

constexpr double kMemoryOfStep = 0.99;  // of the averages: some 100 steps
constexpr double kFewFlips = 0.5;

}  // namespace

IdentityControl::IdentityControl(double goal, at::Device device)
    : goal_(goal),
      averages_(torch::zeros({5}, torch::device(device).dtype(torch::kDouble))),
      log_factor_(torch::zeros({}, torch::device(device).dtype(torch::kDouble))) {}

Tensor IdentityControl::factor() const { return log_factor_.exp().to(torch::kFloat); }

Tensor IdentityControl::count(const Tensor& change, const Tensor& is_kept, const Tensor& is_turned,
                              const Tensor& has_flipped) {
  const Tensor values = change.to(torch::kDouble), kept = is_kept.to(torch::kDouble),
               turned = is_turned.to(torch::kDouble);
  return torch::stack({kept.sum(), (kept * values).sum(), turned.sum(), (turned * values).sum(),
                       (turned * has_flipped).sum()});
}

void IdentityControl::observe(const Tensor& counts, const Tensor& adjust) {
  if (goal_ == 0) return;
  averages_.mul_(kMemoryOfStep).add_(counts, 1 - kMemoryOfStep);
  const Tensor kept = averages_[0], kept_change = averages_[1], turned = averages_[2],
               turned_change = averages_[3], flipped = averages_[4];
  // As far above the goal as possible is 1, as far below it -1; 0 before anything was seen.
  const Tensor whole = turned_change * kept, excess = kept_change * turned - goal_ * whole;
  const Tensor is_above = (excess > 0).to(torch::kDouble);
  const Tensor room = whole * (is_above * (1 - 2 * goal_) + goal_);
  const Tensor few = (flipped < kFewFlips * turned).to(torch::kDouble);
  const Tensor wish = (1 - few) * (excess / room.clamp_min(1e-12)).clamp(-1, 1) - few;
  steer(log_factor_, wish, adjust, /*least=*/1);
}

TensorMap IdentityControl::state() const {
  return {{"identity.averages", averages_}, {"identity.log_factor", log_factor_}};
}

void IdentityControl::load_state(const TensorMap& state) {
  averages_.copy_(state.at("identity.averages"));
  log_factor_.copy_(state.at("identity.log_factor"));
}

}  // namespace flipside
