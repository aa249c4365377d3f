#pragma once

#include <map>
#include <string>
#include <vector>

#include "flipside/core/torch.h"

namespace flipside {

/// Adam (Kingma and Ba 2015) with decoupled weight decay (Loshchilov and Hutter 2019, eq. AdamW),
/// over the parameters of one network. On the CPU each parameter is updated in one pass over
/// memory. Its state goes into the checkpoint by parameter name.
class Adam {
 public:
  struct Options {
    double beta1 = 0.5;
    double beta2 = 0.99;
    double eps = 1e-8;
    double weight_decay = 0.0;
  };
  Adam(torch::nn::Module& module, const Options& options);

  /// One step at learning rate `lr`, from the parameters' gradients; a parameter without a
  /// gradient stays.
  void step(double lr);
  /// Forgets the gradients.
  void zero_grad();

  /// "NAME.m", "NAME.v" (shapes of the parameters) and "steps" (int64 scalar).
  std::map<std::string, Tensor> state() const;
  /// Strict; throws c10::Error for a missing name or another shape.
  void load_state(const std::map<std::string, Tensor>& state);

 private:
  struct Slot {
    std::string name;
    Tensor parameter, m, v;
  };
  Options options_;
  int64_t steps_ = 0;
  std::vector<Slot> slots_;
};

}  // namespace flipside
