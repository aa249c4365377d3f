#pragma once

#include "flipside/core/torch.h"

namespace flipside {

/// What `group_norm_act` reads and remembers on a GPU: `x` [N,C,H,W] channels_last float32 or
/// bfloat16; `gain`, `bias` [N,C] float32, dense or one row expanded; `mean`, `rstd` [N,C/8]
/// float32 dense, filled forward and read backward.
struct GpuNorm {
  Tensor x, gain, bias, mean, rstd;
  double slope;

  Tensor forward(double eps) const;
  /// Gradients of x (undefined unless `needs_input`), gain and bias; `dy` as x.
  torch::autograd::tensor_list backward(const Tensor& dy, bool needs_input) const;
};

/// Whether this program has kernels for an `x` of such sizes in so many groups: on a GPU, groups of
/// 8 channels.
bool has_gpu_norm(const Tensor& x, int64_t groups);

}  // namespace flipside
