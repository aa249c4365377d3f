#include <ATen/Parallel.h>
#include <ATen/record_function.h>

#include "flipside/model/average_and_max_kernels.h"
#include "flipside/model/blocks.h"
#include "flipside/model/composed_gradients.h"

namespace flipside {
namespace {

using kernels::BFloatBits;
using kernels::Block;
using torch::autograd::AutogradContext;
using torch::autograd::tensor_list;

/// `work(n, sample)` in parallel over the samples of `x`, channels_last.
template <typename Value, typename Work>
void for_samples(const Tensor& x, const Work& work) {
  const int64_t channels = x.size(1), pixels = x.size(2) * x.size(3);
  const auto* values = static_cast<const Value*>(x.data_ptr());
  at::parallel_for(0, x.size(0), /*grain_size=*/1, [&](int64_t begin, int64_t end) {
    for (int64_t n = begin; n < end; ++n)
      work(n, Block<Value>{values + n * pixels * channels, pixels, channels});
  });
}

template <typename Value>
Tensor fused_forward(const Tensor& x) {
  const int64_t channels = x.size(1);
  Tensor pooled = at::empty({x.size(0), 2 * channels}, x.options().dtype(at::kFloat));
  auto* out = pooled.data_ptr<float>();
  for_samples<Value>(x, [&](int64_t n, const Block<Value>& sample) {
    float* average = out + n * 2 * channels;
    kernels::average_and_max(sample, average, average + channels);
  });
  return pooled;
}

/// `pooled` and its gradient `dpooled` dense.
template <typename Value>
Tensor fused_backward(const Tensor& x, const Tensor& pooled, const Tensor& dpooled) {
  const int64_t channels = x.size(1);
  Tensor dx = at::empty(x.sizes(), x.options(), kChannelsLast);
  const auto *values = pooled.data_ptr<float>(), *gradients = dpooled.data_ptr<float>();
  auto* out = static_cast<Value*>(dx.data_ptr());
  for_samples<Value>(x, [&](int64_t n, const Block<Value>& sample) {
    const int64_t average = n * 2 * channels, most = average + channels;
    kernels::average_and_max_gradient(sample,
                                      {values + most, gradients + average, gradients + most},
                                      out + n * sample.pixels * channels);
  });
  return dx;
}

class AverageAndMax : public torch::autograd::Function<AverageAndMax> {
 public:
  static Tensor forward(AutogradContext* context, const Tensor& x) {
    RECORD_FUNCTION("flipside::average_and_max", std::vector<c10::IValue>{});
    const Tensor pooled =
        x.scalar_type() == at::kFloat ? fused_forward<float>(x) : fused_forward<BFloatBits>(x);
    context->save_for_backward({x, pooled});
    return pooled;
  }

  static tensor_list backward(AutogradContext* context, const tensor_list& outputs) {
    const auto saved = context->get_saved_variables();
    const Tensor &x = saved[0], &pooled = saved[1];
    if (at::GradMode::is_enabled())
      return composed_gradients({x}, outputs,
                                [&] { return tensor_list{average_and_max_composed(x)}; });
    const Tensor dpooled = outputs[0].contiguous();
    return {x.scalar_type() == at::kFloat ? fused_backward<float>(x, pooled, dpooled)
                                          : fused_backward<BFloatBits>(x, pooled, dpooled)};
  }
};

}  // namespace

Tensor average_and_max_composed(const Tensor& x) {
  const at::ScalarType type = full_type(x);
  return at::cat({x.mean({2, 3}, /*keepdim=*/false, type), x.amax({2, 3}).to(type)}, /*dim=*/1);
}

Tensor average_and_max(const Tensor& x) {
  if (!suits_kernels(x)) return average_and_max_composed(x);
  return AverageAndMax::apply(x.contiguous(kChannelsLast));
}

}  // namespace flipside
