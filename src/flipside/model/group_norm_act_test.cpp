#include <gtest/gtest.h>

#include "flipside/core/device.h"
#include "flipside/model/blocks.h"
#include "support/gradcheck.h"

namespace flipside::group_norm_act_test {
namespace {

struct Case {
  int64_t n, c, h, w, groups;
  double slope;
};

// Several blocks, one block, one pixel, one sample (blocks in parallel), odd sizes, wide groups.
const Case kCases[] = {{3, 16, 40, 40, 2, 0.1}, {2, 24, 5, 7, 3, 0.1}, {2, 8, 1, 1, 1, 0.1},
                       {1, 32, 64, 64, 4, 0.1}, {2, 40, 6, 6, 1, 1.0}, {2, 16, 9, 3, 16, 0.5}};

struct Inputs {
  Tensor x, gain, bias, dy;
};

Inputs make_inputs(const Case& k) {
  torch::manual_seed(k.c * 100 + k.w);
  return {(torch::randn({k.n, k.c, k.h, k.w}) * 2 + 3).contiguous(kChannelsLast).requires_grad_(),
          (torch::randn({k.n, k.c}) + 1).requires_grad_(),
          torch::randn({k.n, k.c}).requires_grad_(),
          torch::randn({k.n, k.c, k.h, k.w}).contiguous(kChannelsLast)};
}

void expect_close(const Tensor& actual, const Tensor& expected, double tolerance) {
  const double scale = 1 + expected.abs().max().item<double>();
  EXPECT_LT((actual - expected).abs().max().item<double>(), tolerance * scale);
}

TEST(GroupNormAct, AgreesWithTheComposedOperatorsInDouble) {
  for (const auto& k : kCases) {
    const Inputs in = make_inputs(k);
    const Tensor y = group_norm_act(in.x, in.gain, in.bias, k.groups, k.slope);
    EXPECT_TRUE(y.is_contiguous(kChannelsLast));
    const Tensor x64 = in.x.detach().to(at::kDouble).requires_grad_();
    const Tensor gain64 = in.gain.detach().to(at::kDouble).requires_grad_();
    const Tensor bias64 = in.bias.detach().to(at::kDouble).requires_grad_();
    const Tensor y64 = group_norm_act_composed(x64, gain64, bias64, k.groups, k.slope);
    expect_close(y.to(at::kDouble), y64, 2e-6);
    const auto actual = torch::autograd::grad({y}, {in.x, in.gain, in.bias}, {in.dy});
    const auto expected =
        torch::autograd::grad({y64}, {x64, gain64, bias64}, {in.dy.to(at::kDouble)});
    EXPECT_TRUE(actual[0].is_contiguous(kChannelsLast));
    for (size_t i = 0; i < 3; ++i) expect_close(actual[i].to(at::kDouble), expected[i], 1e-5);
  }
}

/// y and the gradients of x, gain and bias, of the inputs moved to `options`' device and type.
std::vector<Tensor> all_of(const Inputs& in, const Case& k, const torch::TensorOptions& options) {
  const auto weights = options.dtype(at::promoteTypes(options.dtype().toScalarType(), at::kFloat));
  const Tensor x = in.x.detach().to(options).requires_grad_();
  const Tensor gain = in.gain.detach().to(weights).requires_grad_();
  const Tensor bias = in.bias.detach().to(weights).requires_grad_();
  const Tensor y = group_norm_act(x, gain, bias, k.groups, k.slope);
  EXPECT_TRUE(y.is_contiguous(kChannelsLast));
  auto results = torch::autograd::grad({y}, {x, gain, bias}, {in.dy.to(options)});
  results.push_back(y.detach());
  for (Tensor& result : results) result = result.to(at::kCPU, at::kDouble);
  return results;
}

TEST(GroupNormAct, TheGpuAgreesWithTheComposedOperatorsInDouble) {
  if (!has_cuda()) GTEST_SKIP() << "no CUDA in this libtorch, or no GPU in this machine";
  // Many blocks; lanes that are no power of two; one pixel; the widest; and groups it does not
  // know.
  const Case cases[] = {{3, 16, 64, 64, 2, 0.1},  {2, 24, 5, 7, 3, 0.1},     {2, 8, 1, 1, 1, 0.1},
                        {1, 96, 65, 33, 12, 0.1}, {2, 2048, 3, 3, 256, 1.0}, {2, 40, 6, 6, 1, 0.5}};
  for (const auto& k : cases) {
    Inputs in = make_inputs(k);
    for (const auto& [type, tolerance] : {std::pair{at::kFloat, 1e-5}, {at::kBFloat16, 2e-2}}) {
      // The numbers that the type holds, so that only the arithmetic differs.
      const auto round = [type = type](const Tensor& t) {
        return t.detach().to(type).to(at::kFloat).contiguous(kChannelsLast);
      };
      in.x = round(in.x);
      in.dy = round(in.dy);
      const auto actual = all_of(in, k, torch::TensorOptions(at::kCUDA).dtype(type));
      const auto expected = all_of(in, k, torch::TensorOptions(at::kCPU).dtype(at::kDouble));
      for (size_t i = 0; i < actual.size(); ++i) expect_close(actual[i], expected[i], tolerance);
    }
  }
}

TEST(GroupNormAct, NormalisesByHand) {
  // One group of eight channels: 0..7 with mean 3.5 and variance 5.25.
  const Tensor x = torch::arange(8, torch::kFloat).view({1, 8, 1, 1});
  const Tensor gain = torch::full({1, 8}, 2.0), bias = torch::full({1, 8}, 1.0);
  const Tensor y = group_norm_act(x, gain, bias, 1, 0.1, /*eps=*/0.0).flatten();
  for (int i = 0; i < 8; ++i) {
    const double t = (i - 3.5) / std::sqrt(5.25) * 2 + 1;
    EXPECT_NEAR(y[i].item<double>(), t > 0 ? t : 0.1 * t, 1e-6);
  }
}

TEST(GroupNormAct, ComposedGradientsAreRight) {
  torch::manual_seed(3);
  const auto options = torch::TensorOptions(at::kDouble).requires_grad(true);
  expect_gradients(
      [](const std::vector<Tensor>& in) {
        return group_norm_act_composed(in[0], in[1], in[2], 2, 0.1);
      },
      {torch::randn({2, 6, 3, 5}, options), torch::randn({2, 6}, options),
       torch::randn({2, 6}, options)});
}

TEST(GroupNormAct, SurvivesAMeanFarFromZero) {
  torch::manual_seed(4);
  const Tensor x = torch::randn({1, 8, 96, 96}) + 1000;
  const Tensor gain = torch::ones({1, 8}), bias = torch::zeros({1, 8});
  const Tensor y = group_norm_act(x, gain, bias, 1, 1.0);
  const Tensor y64 = group_norm_act_composed(x.to(at::kDouble), gain.to(at::kDouble),
                                             bias.to(at::kDouble), 1, 1.0);
  // The mean itself is a float32: 1000 is known to 3e-5.
  EXPECT_LT((y - y64).abs().max().item<double>(), 1e-4);
}

TEST(GroupNormAct, DoesNotDependOnTheNumberOfThreads) {
  const int threads = at::get_num_threads();
  for (const auto& k : kCases) {
    const Inputs in = make_inputs(k);
    const auto run = [&](int count) {
      at::set_num_threads(count);
      const Tensor y = group_norm_act(in.x, in.gain, in.bias, k.groups, k.slope);
      auto results = torch::autograd::grad({y}, {in.x, in.gain, in.bias}, {in.dy});
      results.push_back(y);
      return results;
    };
    const auto one = run(1), three = run(3);
    at::set_num_threads(threads);
    for (size_t i = 0; i < one.size(); ++i) EXPECT_TRUE(torch::equal(one[i], three[i]));
  }
}

TEST(GroupNormAct, GivesOnlyTheGradientsAskedFor) {
  const Inputs in = make_inputs(kCases[1]);
  const Case& k = kCases[1];
  const auto all =
      torch::autograd::grad({group_norm_act(in.x, in.gain, in.bias, k.groups, k.slope)},
                            {in.x, in.gain, in.bias}, {in.dy});
  // Frozen weights, as in the generator's step through the discriminator.
  const Tensor frozen = group_norm_act(in.x, in.gain.detach(), in.bias.detach(), k.groups, k.slope);
  EXPECT_TRUE(torch::equal(torch::autograd::grad({frozen}, {in.x}, {in.dy})[0], all[0]));
  const Tensor fixed = group_norm_act(in.x.detach(), in.gain, in.bias, k.groups, k.slope);
  const auto weights = torch::autograd::grad({fixed}, {in.gain, in.bias}, {in.dy});
  EXPECT_TRUE(torch::equal(weights[0], all[1]));
  EXPECT_TRUE(torch::equal(weights[1], all[2]));
  torch::NoGradGuard no_grad;
  EXPECT_FALSE(group_norm_act(in.x, in.gain, in.bias, k.groups, k.slope).requires_grad());
}

TEST(GroupNormAct, TakesAnyLayoutAndExpandedWeights) {
  torch::manual_seed(5);
  const Tensor x = torch::randn({2, 16, 6, 5}).requires_grad_();
  const Tensor gain = torch::rand({16}).requires_grad_(), bias = torch::randn({16});
  const auto run = [&](auto function) {
    const Tensor y = function(x, gain.expand({2, 16}), bias.expand({2, 16}), 2, 0.1, 1e-5);
    const Tensor dy = torch::linspace(-1, 1, x.numel()).view(x.sizes());  // row-major
    return torch::autograd::grad({y}, {x, gain}, {dy});
  };
  const auto fused = run(group_norm_act), composed = run(group_norm_act_composed);
  for (size_t i = 0; i < 2; ++i) expect_close(fused[i], composed[i], 1e-5);
}

TEST(GroupNormAct, OneGainForAllSamplesIsThatOfEach) {
  torch::manual_seed(5);
  const Tensor x = torch::randn({3, 16, 6, 5}).contiguous(kChannelsLast);
  const Tensor gain = torch::rand({16}).requires_grad_(), bias = torch::randn({16});
  const auto run = [&](const Tensor& g, const Tensor& b) {
    return group_norm_act(x, g, b, 2, 0.1);
  };
  const Tensor shared = run(gain, bias), each = run(gain.expand({3, 16}), bias.expand({3, 16}));
  EXPECT_TRUE(torch::equal(shared, each));
  EXPECT_TRUE(torch::equal(torch::autograd::grad({shared.square().sum()}, {gain})[0],
                           torch::autograd::grad({each.square().sum()}, {gain})[0]));
  const torch::NoGradGuard no_grad;  // no node is made
  EXPECT_TRUE(torch::equal(run(gain, bias), each));
  EXPECT_TRUE(torch::equal(run(gain.expand({3, 16}), bias.repeat({3, 1})), each));
  EXPECT_TRUE(torch::allclose(group_norm_act_composed(x, gain, bias, 2, 0.1), each, 1e-5, 1e-5));
}

TEST(GroupNormAct, SecondDerivativesAgreeWithTheComposedOperators) {
  const Case& k = kCases[1];
  const Inputs in = make_inputs(k);
  // A penalty on the input gradient, differentiated by everything.
  const auto penalty = [&](auto function) {
    const Tensor y = function(in.x * 1.5, in.gain * 2, in.bias, k.groups, k.slope, 1e-5);
    const Tensor dx = torch::autograd::grad({(y * in.dy).sum()}, {in.x}, {},
                                            /*retain_graph=*/true, /*create_graph=*/true)[0];
    return torch::autograd::grad({dx.pow(2).sum()}, {in.x, in.gain});
  };
  const auto fused = penalty(group_norm_act), composed = penalty(group_norm_act_composed);
  for (size_t i = 0; i < 2; ++i) expect_close(fused[i], composed[i], 1e-4);
}

TEST(GroupNormAct, BFloat16AgreesUpToItsRounding) {
  constexpr double kUnit = 1.0 / 256;  // 8 bits of significand: half a step of rounding, relative
  for (const auto& k : kCases) {
    const Inputs in = make_inputs(k);
    const Tensor x = in.x.detach().to(at::kBFloat16).requires_grad_();
    const Tensor dy = in.dy.to(at::kBFloat16);
    const Tensor exact_x = x.detach().to(at::kDouble).requires_grad_();
    const Tensor y = group_norm_act(x, in.gain, in.bias, k.groups, k.slope);
    EXPECT_EQ(y.scalar_type(), at::kBFloat16);
    EXPECT_TRUE(y.is_contiguous(kChannelsLast));
    const auto found = torch::autograd::grad({y}, {x, in.gain, in.bias}, {dy});
    EXPECT_EQ(found[0].scalar_type(), at::kBFloat16);
    EXPECT_EQ(found[1].scalar_type(), at::kFloat);

    const Tensor gain = in.gain.detach().to(at::kDouble).requires_grad_();
    const Tensor bias = in.bias.detach().to(at::kDouble).requires_grad_();
    const Tensor exact_y = group_norm_act_composed(exact_x, gain, bias, k.groups, k.slope);
    const auto exact =
        torch::autograd::grad({exact_y}, {exact_x, gain, bias}, {dy.to(at::kDouble)});
    const auto expect_rounded = [](const Tensor& actual, const Tensor& expected) {
      const Tensor error = (actual.to(at::kDouble) - expected).abs();
      EXPECT_LE((error - kUnit * expected.abs()).max().item<double>(), 1e-4);
    };
    expect_rounded(y, exact_y);
    expect_rounded(found[0], exact[0]);
    // Sums are float32, so that weights' gradients are as exact as in float32.
    expect_close(found[1].to(at::kDouble), exact[1], 1e-5);
    expect_close(found[2].to(at::kDouble), exact[2], 1e-5);
  }
}

TEST(GroupNormAct, OtherDtypesAndWidthsGoTheComposedWay) {
  torch::manual_seed(6);
  const Tensor x = torch::randn({2, 12, 4, 4}), gain = torch::ones({2, 12}),
               bias = torch::zeros({2, 12});
  EXPECT_TRUE(torch::equal(group_norm_act(x, gain, bias, 3, 0.1),
                           group_norm_act_composed(x, gain, bias, 3, 0.1)));
  const Tensor half = group_norm_act(x.to(at::kBFloat16), gain, bias, 3, 0.1);
  EXPECT_EQ(half.scalar_type(), at::kBFloat16);
  expect_close(half.to(at::kFloat), group_norm_act(x, gain, bias, 3, 0.1), 0.02);
}

}  // namespace
}  // namespace flipside::group_norm_act_test
