// The GPU's kernels, run on the processor.
#include <gtest/gtest.h>

#include "flipside/model/blocks.h"
#include "support/cuda_on_cpu.h"

#define gpu gpu_on_cpu  // a program with CUDA holds the kernels a second time
#include "flipside/model/group_norm_gpu_kernels.cu"
#undef gpu

namespace flipside::group_norm_gpu_kernels_test {
namespace {

using gpu_on_cpu::NormCall;
using gpu_on_cpu::NormType;

constexpr double kEps = 1e-5;

struct Case {
  int64_t samples, channels, height, width;
  at::ScalarType type;
  bool one_row;  ///< of gain and bias, for all samples
  double mean;
};

struct Inputs {
  Tensor x, gain, bias, dy;
};

Inputs make_inputs(const Case& k) {
  torch::manual_seed(k.channels + k.width);
  const int64_t rows = k.one_row ? 1 : k.samples;
  const auto image = [&](double mean) {
    return (torch::randn({k.samples, k.channels, k.height, k.width}) * 2 + mean)
        .to(k.type)
        .contiguous(kChannelsLast);
  };
  return {image(k.mean), torch::randn({rows, k.channels}) + 1, torch::randn({rows, k.channels}),
          image(0)};
}

/// y, dx, dgain and dbias by the kernels.
std::vector<Tensor> run_kernels(const Case& k, const Inputs& in, bool with_dx) {
  const Tensor mean = torch::empty({k.samples, k.channels / 8}), rstd = torch::empty_like(mean);
  const int64_t stride = k.one_row ? 0 : k.channels;
  const NormCall call{{k.samples, k.height * k.width, k.channels},
                      k.type == at::kFloat ? NormType::kFloat : NormType::kBFloat16,
                      in.x.data_ptr(),
                      in.gain.data_ptr<float>(),
                      in.bias.data_ptr<float>(),
                      stride,
                      stride,
                      mean.data_ptr<float>(),
                      rstd.data_ptr<float>(),
                      static_cast<float>(kSlope),
                      nullptr};
  Tensor scratch = torch::full({gpu_on_cpu::norm_scratch(call.sizes)}, std::nanf(""));
  Tensor y = torch::full_like(in.x, std::nan("")), dx = torch::full_like(in.x, std::nan(""));
  Tensor dgain = torch::full({k.samples, k.channels}, std::nanf("")), dbias = dgain.clone();
  gpu_on_cpu::norm_forward(call, static_cast<float>(kEps), scratch.data_ptr<float>(), y.data_ptr());
  gpu_on_cpu::norm_backward(call, in.dy.data_ptr(), scratch.data_ptr<float>(),
                            dgain.data_ptr<float>(), dbias.data_ptr<float>(),
                            with_dx ? dx.data_ptr() : nullptr);
  return {y, dx, dgain, dbias};
}

/// The same in float64 by libtorch's operators.
std::vector<Tensor> expected_of(const Case& k, const Inputs& in) {
  const auto leaf = [&](const Tensor& t) { return t.to(at::kDouble).clone().requires_grad_(); };
  const Tensor x = leaf(in.x), gain = leaf(in.gain.expand({k.samples, k.channels}));
  const Tensor bias = leaf(in.bias.expand({k.samples, k.channels}));
  const Tensor y =
      group_norm_act_composed(x, gain, bias, k.channels / gpu_on_cpu::kOctet, kSlope, kEps);
  const auto gradients = torch::autograd::grad({y}, {x, gain, bias}, {in.dy.to(at::kDouble)});
  return {y, gradients[0], gradients[1], gradients[2]};
}

TEST(GroupNormKernels, AgreeWithTheComposedOperatorsInDouble) {
  // Several blocks a sample; threads to spare (12 groups); one pixel; a mean far from zero.
  const Case cases[] = {{2, 16, 33, 32, at::kFloat, false, 3},
                        {2, 96, 14, 14, at::kBFloat16, true, 0.5},
                        {3, 8, 1, 1, at::kFloat, false, 0},
                        {1, 24, 30, 31, at::kFloat, true, 300}};
  for (const auto& k : cases) {
    const Inputs in = make_inputs(k);
    const auto actual = run_kernels(k, in, /*with_dx=*/true);
    const auto expected = expected_of(k, in);
    const double scale = k.type == at::kFloat ? std::max(1.0, k.mean / 10) : 1000;
    for (size_t i = 0; i < actual.size(); ++i) {
      const double largest = 1 + expected[i].abs().max().item<double>();
      const Tensor apart = (actual[i].to(at::kDouble) - expected[i]).abs();
      EXPECT_LT(apart.max().item<double>(), 5e-6 * scale * largest) << k.channels << " " << i;
    }
  }
}

TEST(GroupNormKernels, LeaveTheInputsGradientAloneWhereNobodyAsks) {
  const Case k{1, 16, 9, 9, at::kFloat, false, 1};
  const Inputs in = make_inputs(k);
  const auto with = run_kernels(k, in, true), without = run_kernels(k, in, false);
  EXPECT_TRUE(without[1].isnan().all().item<bool>());
  for (const size_t i : {0, 2, 3}) EXPECT_TRUE(torch::equal(with[i], without[i]));
}

}  // namespace
}  // namespace flipside::group_norm_gpu_kernels_test
