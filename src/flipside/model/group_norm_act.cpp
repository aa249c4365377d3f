#include "flipside/model/blocks.h"

namespace flipside {

Tensor group_norm_act_composed(const Tensor& x, const Tensor& gain, const Tensor& bias,
                               int64_t groups, double slope, double eps) {
  // Statistics of half-precision activations need float32.
  const bool half = x.scalar_type() == at::kHalf || x.scalar_type() == at::kBFloat16;
  const Tensor xhat = at::group_norm(half ? x.to(at::kFloat) : x, groups, {}, {}, eps);
  const Tensor y = xhat * gain.unsqueeze(-1).unsqueeze(-1) + bias.unsqueeze(-1).unsqueeze(-1);
  const Tensor activated = slope == 1.0 ? y : at::leaky_relu(y, slope);
  return activated.to(x.scalar_type()).contiguous(kChannelsLast);
}

Tensor group_norm_act(const Tensor& x, const Tensor& gain, const Tensor& bias, int64_t groups,
                      double slope, double eps) {
  return group_norm_act_composed(x, gain, bias, groups, slope, eps);
}

}  // namespace flipside
