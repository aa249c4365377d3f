#include "flipside/train/penalty_control.h"

#include "flipside/train/steering.h"

namespace flipside {
namespace {

constexpr double kMemoryOfImage = 0.995;  // of the flip rate's average: some 200 images

}  // namespace

PenaltyControl::PenaltyControl(int64_t num_directions, double goal, at::Device device)
    : goal_(goal),
      numbers_(torch::arange(num_directions, torch::device(device).dtype(torch::kInt64))),
      flip_rate_(torch::full({num_directions}, goal, torch::device(device).dtype(torch::kDouble))),
      log_factor_(torch::zeros({num_directions}, torch::device(device).dtype(torch::kDouble))) {}

Tensor PenaltyControl::factors(const Tensor& directions) const {
  return log_factor_.exp().to(torch::kFloat).index_select(/*dim=*/0, directions);
}

Tensor PenaltyControl::count(const Tensor& directions, const Tensor& flipped) const {
  const Tensor asked = (directions.unsqueeze(1) == numbers_).to(torch::kDouble);
  return torch::stack({asked.sum(0), (asked * flipped.to(torch::kDouble).unsqueeze(1)).sum(0)});
}

void PenaltyControl::observe(const Tensor& counts, const Tensor& adjust) {
  if (goal_ == 0) return;
  const Tensor asked = counts[0], flipped = counts[1];
  // A step that asks much in a direction says more of it.
  const Tensor kept = torch::pow(kMemoryOfImage, asked);
  flip_rate_.mul_(kept).add_((1 - kept) * flipped / asked.clamp_min(1));
  // Above the goal there is less room than below it, hence the unit 1 - goal.
  const Tensor excess = ((flip_rate_ - goal_) / (1 - goal_)).clamp(-1, 1);
  steer(log_factor_, excess, adjust, /*least=*/1 / 30.0);
}

TensorMap PenaltyControl::state() const {
  return {{"penalty.flip_rate", flip_rate_}, {"penalty.log_factor", log_factor_}};
}

void PenaltyControl::load_state(const TensorMap& state) {
  flip_rate_.copy_(state.at("penalty.flip_rate"));
  log_factor_.copy_(state.at("penalty.log_factor"));
}

}  // namespace flipside
