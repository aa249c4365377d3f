#include "flipside/model/ema.h"

#include <fmt/ranges.h>

#include <algorithm>

#include "flipside/core/device.h"
#include "flipside/core/error.h"

namespace flipside {

Ema::Ema(const torch::nn::Module& module, double decay) : decay_(decay) {
  for (const auto& item : module.named_parameters()) {
    names_.push_back(item.key());
    averages_.push_back(item.value().detach().clone());
  }
  next_weight_ = torch::zeros({}, averages_.at(0).options());
}

void Ema::prepare() {
  const auto t = static_cast<double>(updates_++);
  next_decay_ = std::min(decay_, (1 + t) / (10 + t));
  next_weight_.fill_(1 - next_decay_);
}

void Ema::apply(const torch::nn::Module& module) {
  torch::NoGradGuard no_grad;
  const auto parameters = module.parameters();
  if (takes_fused_nodes(next_weight_.device())) {
    for (size_t i = 0; i < averages_.size(); ++i)
      averages_[i].lerp_(parameters[i], 1 - next_decay_);
    return;
  }
  std::vector<Tensor> moves = at::_foreach_sub(parameters, averages_);
  multiply_all(moves, next_weight_);
  at::_foreach_add_(averages_, moves);
}

void Ema::copy_to(torch::nn::Module& module) const {
  torch::NoGradGuard no_grad;
  auto parameters = module.named_parameters();
  TORCH_CHECK(parameters.size() == names_.size(), "Ema::copy_to: another architecture");
  for (size_t i = 0; i < names_.size(); ++i) parameters[names_[i]].copy_(averages_[i]);
}

std::map<std::string, Tensor> Ema::state() const {
  std::map<std::string, Tensor> state;
  for (size_t i = 0; i < names_.size(); ++i) state[names_[i]] = averages_[i];
  return state;
}

void Ema::load_state(const std::map<std::string, Tensor>& state) {
  if (state.size() != names_.size())
    fail(ErrorCode::kCheckpoint, "averaged weights: {} tensors, expected {}", state.size(),
         names_.size());
  torch::NoGradGuard no_grad;
  for (size_t i = 0; i < names_.size(); ++i) {
    const auto found = state.find(names_[i]);
    if (found == state.end())
      fail(ErrorCode::kCheckpoint, "averaged weights: tensor {} is missing", names_[i]);
    if (found->second.sizes() != averages_[i].sizes())
      fail(ErrorCode::kCheckpoint, "averaged weights: tensor {} has shape [{}], expected [{}]",
           names_[i], fmt::join(found->second.sizes(), ","), fmt::join(averages_[i].sizes(), ","));
    averages_[i].copy_(found->second);
  }
}

}  // namespace flipside
