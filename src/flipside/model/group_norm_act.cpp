#include <ATen/Parallel.h>
#include <ATen/record_function.h>

#include <cmath>

#include "flipside/core/device.h"
#include "flipside/model/blocks.h"
#include "flipside/model/composed_gradients.h"
#include "flipside/model/group_norm_gpu.h"
#include "flipside/model/group_norm_kernels.h"
#include "flipside/model/scratch.h"

namespace flipside {
namespace {

using kernels::Affine;
using kernels::BFloatBits;
using kernels::Block;
using torch::autograd::AutogradContext;
using torch::autograd::tensor_list;

constexpr int64_t kBlockValues = 8192;  // 32 KB: a block is read twice, the second time from L1
constexpr int64_t kFewBlocks = 8;       // are not worth a thread of their own

/// A tensor's values as the kernels take them.
template <typename Value>
Value* values(const Tensor& tensor) {
  return static_cast<Value*>(tensor.data_ptr());
}

/// The sizes of one call, and where its samples and their blocks of pixels lie. Sums are kept per
/// block and added up in the order of the blocks, so that results do not depend on the threads.
struct Layout {
  int64_t samples, pixels, channels, groups;
  int64_t block_pixels, blocks;

  Layout(const Tensor& x, int64_t groups)
      : samples(x.size(0)),
        pixels(x.size(2) * x.size(3)),
        channels(x.size(1)),
        groups(groups),
        block_pixels(std::max<int64_t>(1, kBlockValues / channels)),
        blocks((pixels + block_pixels - 1) / block_pixels) {}

  int64_t group_channels() const { return channels / groups; }
  int64_t block_size(int64_t b) const { return std::min(block_pixels, pixels - b * block_pixels); }
  int64_t offset(int64_t n, int64_t b) const { return (n * pixels + b * block_pixels) * channels; }
  template <typename Value>
  Block<Value> block(const Value* x, int64_t n, int64_t b) const {
    return {x + offset(n, b), block_size(b), channels};
  }

  /// `work(n)` in parallel over the samples.
  template <typename Work>
  void for_samples(Work work) const {
    const int64_t fewest = std::max<int64_t>(1, kFewBlocks * block_pixels / pixels);
    at::parallel_for(0, samples, fewest, [&](int64_t begin, int64_t end) {
      for (int64_t n = begin; n < end; ++n) work(n);
    });
  }
  /// `work(b)` over the blocks of a sample: in parallel if the samples are not (there is one).
  template <typename Work>
  void for_blocks(Work work) const {
    at::parallel_for(0, blocks, kFewBlocks, [&](int64_t begin, int64_t end) {
      for (int64_t b = begin; b < end; ++b) work(b);
    });
  }
};

/// Two sums per channel for each block of a sample.
class BlockSums {
 public:
  explicit BlockSums(const Layout& layout)
      : channels_(layout.channels), values_(layout.blocks * 2 * channels_) {}
  float* first(int64_t b) { return values_.data() + 2 * b * channels_; }
  float* second(int64_t b) { return first(b) + channels_; }

 private:
  int64_t channels_;
  std::vector<float> values_;
};

/// Mean and 1 / sqrt(variance + eps) of one group from the moments of its channels and blocks.
std::pair<float, float> group_moments(const Layout& layout, BlockSums& moments, int64_t g,
                                      double eps) {
  const int64_t from = g * layout.group_channels(), to = from + layout.group_channels();
  const auto count = static_cast<double>(layout.pixels * layout.group_channels());
  double sum = 0, squares = 0;
  for (int64_t b = 0; b < layout.blocks; ++b)
    for (int64_t c = from; c < to; ++c)
      sum += static_cast<double>(moments.first(b)[c]) * static_cast<double>(layout.block_size(b));
  const double mean = sum / count;
  for (int64_t b = 0; b < layout.blocks; ++b)
    for (int64_t c = from; c < to; ++c) {
      const double apart = moments.first(b)[c] - mean;
      squares += moments.second(b)[c] + static_cast<double>(layout.block_size(b)) * apart * apart;
    }
  return {static_cast<float>(mean), static_cast<float>(1 / std::sqrt(squares / count + eps))};
}

/// An `Affine` of one sample, with its memory.
class SampleAffine {
 public:
  SampleAffine(const Layout& layout, const float* mean, const float* rstd, const float* gain,
               const float* bias, double slope)
      : bias_(bias), slope_(static_cast<float>(slope)), center_(layout.channels) {
    scale_.resize(layout.channels);
    for (int64_t c = 0; c < layout.channels; ++c) {
      const int64_t g = c / layout.group_channels();
      center_[c] = mean[g];
      scale_[c] = gain[c] * rstd[g];
    }
  }
  Affine get() const { return {center_.data(), scale_.data(), bias_, slope_}; }

 private:
  const float* bias_;
  float slope_;
  std::vector<float> center_, scale_;
};

/// Everything of one call that both directions need; all tensors dense, but gain and bias perhaps
/// one row for all samples. x is float32 or bfloat16, the others float32.
struct Call {
  Layout layout;
  Tensor x, gain, bias;
  float *mean, *rstd;  // [N,groups]
  double slope;

  const float* gain_of(int64_t n) const { return row_of(gain, n); }
  SampleAffine affine(int64_t n) const {
    const int64_t g = n * layout.groups;
    return {layout, mean + g, rstd + g, gain_of(n), row_of(bias, n), slope};
  }

 private:
  static const float* row_of(const Tensor& rows, int64_t n) {
    return rows.data_ptr<float>() + (rows.dim() == 1 ? 0 : n * rows.stride(0));
  }
};

/// Fills `call.mean` and `call.rstd`, and gives y. `Value` is the type of x and y.
template <typename Value>
Tensor fused_forward(Call& call, double eps) {
  const Layout& layout = call.layout;
  Tensor y = at::empty(call.x.sizes(), call.x.options(), kChannelsLast);
  const Value* input = values<Value>(call.x);
  Value* out = values<Value>(y);
  float *mean = call.mean, *rstd = call.rstd;
  layout.for_samples([&](int64_t n) {
    BlockSums moments(layout);
    layout.for_blocks([&](int64_t b) {
      kernels::channel_moments(layout.block(input, n, b), moments.first(b), moments.second(b));
    });
    for (int64_t g = 0; g < layout.groups; ++g)
      std::tie(mean[n * layout.groups + g], rstd[n * layout.groups + g]) =
          group_moments(layout, moments, g, eps);
    const SampleAffine affine = call.affine(n);
    layout.for_blocks([&](int64_t b) {
      kernels::normalise_act(layout.block(input, n, b), affine.get(), out + layout.offset(n, b));
    });
  });
  return y;
}

/// The gradients of gain and bias of one sample, from the blocks' sums of g and g * (x - mean).
void sum_blocks(const Layout& layout, BlockSums& sums, const float* rstd, float* dgain,
                float* dbias) {
  for (int64_t c = 0; c < layout.channels; ++c) {
    double plain = 0, centered = 0;
    for (int64_t b = 0; b < layout.blocks; ++b) {
      plain += sums.first(b)[c];
      centered += sums.second(b)[c];
    }
    dbias[c] = static_cast<float>(plain);
    dgain[c] = static_cast<float>(centered * rstd[c / layout.group_channels()]);
  }
}

/// With M elements in a group, S1 = sum of gain * dbias and S2 = sum of gain * dgain over it:
///   dx = rstd (gain g - (S1 + xhat S2) / M).
class InputTerms {
 public:
  InputTerms(const Layout& layout, const float* rstd, const float* gain, const float* dgain,
             const float* dbias)
      : slope_(layout.channels), tilt_(layout.channels), shift_(layout.channels) {
    const int64_t size = layout.group_channels();
    const auto count = static_cast<double>(layout.pixels * size);
    for (int64_t g = 0; g < layout.groups; ++g) {
      double s1 = 0, s2 = 0;
      for (int64_t c = g * size; c < (g + 1) * size; ++c) {
        s1 += static_cast<double>(gain[c]) * dbias[c];
        s2 += static_cast<double>(gain[c]) * dgain[c];
      }
      const double r = rstd[g];
      for (int64_t c = g * size; c < (g + 1) * size; ++c) {
        slope_[c] = static_cast<float>(r * gain[c]);
        tilt_[c] = static_cast<float>(-r * r * s2 / count);
        shift_[c] = static_cast<float>(-r * s1 / count);
      }
    }
  }
  kernels::InputGradient get() const { return {slope_.data(), tilt_.data(), shift_.data()}; }

 private:
  std::vector<float> slope_, tilt_, shift_;
};

/// Gradients of x (undefined unless `needs_input`), gain and bias. `dy` channels_last, of the type
/// of x.
template <typename Value>
tensor_list fused_backward(const Call& call, const Tensor& dy, bool needs_input) {
  const Layout& layout = call.layout;
  Tensor dx;
  if (needs_input) dx = at::empty(call.x.sizes(), call.x.options(), kChannelsLast);
  Tensor dgain = at::empty(call.gain.sizes(), call.gain.options()), dbias = at::empty_like(dgain);
  const Value* input = values<Value>(call.x);
  const Value* out_gradient = values<Value>(dy);
  Value* in_gradient = needs_input ? values<Value>(dx) : nullptr;
  layout.for_samples([&](int64_t n) {
    const SampleAffine affine = call.affine(n);
    const float* rstd = call.rstd + n * layout.groups;
    const float* gain = call.gain_of(n);
    float* gain_gradient = dgain.data_ptr<float>() + n * layout.channels;
    float* bias_gradient = dbias.data_ptr<float>() + n * layout.channels;
    BlockSums sums(layout);
    layout.for_blocks([&](int64_t b) {
      kernels::gradient_sums(layout.block(input, n, b), affine.get(),
                             out_gradient + layout.offset(n, b), sums.first(b), sums.second(b));
    });
    sum_blocks(layout, sums, rstd, gain_gradient, bias_gradient);
    if (!needs_input) return;
    const InputTerms terms(layout, rstd, gain, gain_gradient, bias_gradient);
    layout.for_blocks([&](int64_t b) {
      kernels::input_gradient(layout.block(input, n, b), affine.get(), terms.get(),
                              out_gradient + layout.offset(n, b),
                              in_gradient + layout.offset(n, b));
    });
  });
  return {dx, dgain, dbias};
}

/// y; fills the call's statistics.
Tensor forward_of(Call call, double eps) {
  RECORD_FUNCTION("flipside::group_norm_act", std::vector<c10::IValue>{});
  return call.x.scalar_type() == at::kFloat ? fused_forward<float>(call, eps)
                                            : fused_forward<BFloatBits>(call, eps);
}

Tensor dense_rows(const Tensor& rows) { return rows.stride(-1) == 1 ? rows : rows.contiguous(); }

/// As `GpuNorm` describes it, on the processor.
struct CpuNorm {
  Tensor x, gain, bias, mean, rstd;
  double slope;

  Tensor forward(double eps) const { return forward_of(call(), eps); }
  tensor_list backward(const Tensor& dy, bool needs_input) const {
    return x.scalar_type() == at::kFloat ? fused_backward<float>(call(), dy, needs_input)
                                         : fused_backward<BFloatBits>(call(), dy, needs_input);
  }

 private:
  Call call() const {
    return {
        Layout(x, mean.size(1)), x,    dense_rows(gain), dense_rows(bias), mean.data_ptr<float>(),
        rstd.data_ptr<float>(),  slope};
  }
};

class GroupNormAct : public torch::autograd::Function<GroupNormAct> {
 public:
  static Tensor forward(AutogradContext* context, const Tensor& x, const Tensor& gain,
                        const Tensor& bias, int64_t groups, double slope, double eps) {
    const Tensor mean = at::empty({x.size(0), groups}, gain.options()), rstd = at::empty_like(mean);
    const Tensor y = x.is_cuda() ? GpuNorm{x, gain, bias, mean, rstd, slope}.forward(eps)
                                 : CpuNorm{x, gain, bias, mean, rstd, slope}.forward(eps);
    context->save_for_backward({x, gain, bias, mean, rstd});
    context->saved_data["groups"] = groups;
    context->saved_data["slope"] = slope;
    context->saved_data["eps"] = eps;
    return y;
  }

  static tensor_list backward(AutogradContext* context, const tensor_list& outputs) {
    const auto saved = context->get_saved_variables();
    const Tensor &x = saved[0], &gain = saved[1], &bias = saved[2];
    const int64_t groups = context->saved_data["groups"].toInt();
    const double slope = context->saved_data["slope"].toDouble();
    tensor_list gradients;
    if (at::GradMode::is_enabled()) {
      const double eps = context->saved_data["eps"].toDouble();
      gradients = composed_gradients({x, gain, bias}, outputs, [&]() -> tensor_list {
        return {group_norm_act_composed(x, gain, bias, groups, slope, eps)};
      });
    } else {
      const Tensor dy = outputs[0].contiguous(kChannelsLast);
      const bool to_input = x.requires_grad();
      gradients = x.is_cuda()
                      ? GpuNorm{x, gain, bias, saved[3], saved[4], slope}.backward(dy, to_input)
                      : CpuNorm{x, gain, bias, saved[3], saved[4], slope}.backward(dy, to_input);
    }
    gradients.resize(6);  // none for groups, slope, eps
    return gradients;
  }
};

bool fusable(const Tensor& x, const Tensor& gain, const Tensor& bias, int64_t groups) {
  const auto plain = [&x](const Tensor& t) {
    return t.device() == x.device() && t.scalar_type() == at::kFloat;
  };
  const bool type = x.scalar_type() == at::kFloat || x.scalar_type() == at::kBFloat16;
  if (!type || !plain(gain) || !plain(bias)) return false;
  if (x.is_cuda()) return has_gpu_norm(x, groups);
  return takes_fused_nodes(x.device()) && x.size(1) % kernels::kLanes == 0;
}

}  // namespace

Tensor group_norm_act_composed(const Tensor& x, const Tensor& gain, const Tensor& bias,
                               int64_t groups, double slope, double eps) {
  // Statistics of half-precision activations need float32.
  const bool half = x.scalar_type() == at::kHalf || x.scalar_type() == at::kBFloat16;
  const Tensor xhat = at::group_norm(half ? x.to(at::kFloat) : x, groups, {}, {}, eps);
  const auto for_pixels = [](const Tensor& t) { return t.unsqueeze(-1).unsqueeze(-1); };
  const Tensor y = xhat * for_pixels(gain) + for_pixels(bias);
  const Tensor activated = slope == 1.0 ? y : at::leaky_relu(y, slope);
  return activated.to(x.scalar_type()).contiguous(kChannelsLast);
}

Tensor group_norm_act(const Tensor& x, const Tensor& gain, const Tensor& bias, int64_t groups,
                      double slope, double eps) {
  if (!fusable(x, gain, bias, groups))
    return group_norm_act_composed(x, gain, bias, groups, slope, eps);
  TORCH_CHECK(x.size(1) % groups == 0, "group_norm_act: ", groups, " groups do not divide ",
              x.size(1), " channels");
  const Tensor in = x.contiguous(kChannelsLast);
  if (x.is_cuda() || needs_gradient({in, gain, bias})) {
    const auto for_all = [&](const Tensor& t) { return t.expand({x.size(0), x.size(1)}); };
    return GroupNormAct::apply(in, for_all(gain), for_all(bias), groups, slope, eps);
  }
  const int64_t statistics = x.size(0) * groups;
  float* const mean = scratch(2 * statistics);
  return forward_of(
      {Layout(in, groups), in, dense_rows(gain), dense_rows(bias), mean, mean + statistics, slope},
      eps);
}

}  // namespace flipside
