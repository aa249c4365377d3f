#pragma once

#include <map>
#include <string>
#include <vector>

#include "flipside/core/torch.h"

namespace flipside {

/// Adam (Kingma and Ba 2015) with decoupled weight decay (Loshchilov and Hutter 2019, eq. AdamW),
/// over the parameters of one network. On the CPU each parameter is updated in one pass over
/// memory; elsewhere all parameters together, operator by operator. Its state goes into the
/// checkpoint by parameter name.
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
  void step(double lr) {
    prepare(lr);
    step();
  }
  /// The same in two parts. What changes from step to step is worked out first, on the host;
  /// `step` then reads it from tensors, so that a captured CUDA graph can repeat it.
  void prepare(double lr);
  void step();
  /// Forgets the gradients.
  void zero_grad();

  /// "NAME.m", "NAME.v" (shapes of the parameters) and "steps" (int64 scalar).
  std::map<std::string, Tensor> state() const;
  /// Strict; throws c10::Error for a missing name or another shape.
  void load_state(const std::map<std::string, Tensor>& state);

 private:
  /// What a step needs besides the tensors, with the bias corrections folded in.
  struct Scalars {
    float beta1, beta2, step_size, root_correction, eps, decay;
  };
  struct Slot {
    std::string name;
    Tensor parameter, m, v;
  };
  static void update_fused(const Scalars& s, Tensor& p, const Tensor& g, Tensor& m, Tensor& v);
  void update_listed(at::TensorList p, at::TensorList g, at::TensorList m, at::TensorList v) const;

  Options options_;
  int64_t steps_ = 0;
  Scalars scalars_{};
  Tensor changing_;  ///< step_size, root_correction, decay where the parameters are
  std::vector<Slot> slots_;
};

}  // namespace flipside
