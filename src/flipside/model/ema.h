#pragma once

#include <map>
#include <string>
#include <vector>

#include "flipside/core/torch.h"

namespace flipside {

/// Exponential moving average of a module's parameters, with the bias correction of a slow start:
/// decay_t = min(decay, (1 + t) / (10 + t)).
class Ema {
 public:
  /// Starts at the module's present weights.
  Ema(const torch::nn::Module& module, double decay);
  void update(const torch::nn::Module& module) {
    prepare();
    apply(module);
  }
  /// The same in two parts, as `Adam` has them: on the host, then on tensors alone.
  void prepare();
  void apply(const torch::nn::Module& module);
  /// Copies the averages into `module` (same architecture).
  void copy_to(torch::nn::Module& module) const;
  /// The averages by parameter name, for the checkpoint; and back (strict).
  std::map<std::string, Tensor> state() const;
  void load_state(const std::map<std::string, Tensor>& state);
  int64_t updates() const { return updates_; }
  void set_updates(int64_t updates) { updates_ = updates; }

 private:
  double decay_;
  int64_t updates_ = 0;
  std::vector<std::string> names_;
  std::vector<Tensor> averages_;
  double next_decay_ = 0;
  Tensor next_weight_;  ///< 1 - next_decay_, where the weights are
};

}  // namespace flipside
