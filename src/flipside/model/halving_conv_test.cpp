#include <gtest/gtest.h>

#include <algorithm>

#include "flipside/core/device.h"
#include "flipside/model/blocks.h"
#include "support/gradcheck.h"

namespace flipside::halving_conv_test {
namespace {

struct Case {
  int64_t n, channels, out, height, width;  // of what is given
};

// Other channels than outputs, another height than width, single rows, columns and pixels; images
// above and below the number of pixels at which the weights' gradient takes another way.
const Case kCases[] = {{2, 24, 48, 5, 7}, {1, 3, 4, 4, 4},   {3, 8, 5, 1, 6},
                       {2, 1, 8, 6, 1},   {1, 32, 16, 1, 1}, {2, 3, 4, 16, 17}};

struct Inputs {
  Tensor x, weight, dy;
};

Inputs make_inputs(const Case& k, at::ScalarType type) {
  torch::manual_seed(k.channels * 100 + k.width);
  const auto random = [&](at::IntArrayRef sizes) {
    return torch::randn(sizes, at::kDouble).to(type).contiguous(kChannelsLast);
  };
  return {random({k.n, k.channels, 2 * k.height, 2 * k.width}).requires_grad_(),
          random({k.out, k.channels, 4, 4}).requires_grad_(),
          random({k.n, k.out, k.height, k.width})};
}

std::vector<Tensor> gradients(const Inputs& in, const Tensor& y) {
  return torch::autograd::grad({y}, {in.x, in.weight}, {in.dy.to(y.scalar_type())});
}

TEST(HalvingConv, GradientsAreThoseOfTheComposedOperators) {
  for (const auto& k : kCases) {
    const Inputs in = make_inputs(k, at::kDouble);
    const Tensor y = halving_conv(in.x, in.weight);
    const Tensor expected_y = halving_conv_composed(in.x, in.weight);
    EXPECT_TRUE(torch::equal(y, expected_y));
    const auto actual = gradients(in, y), expected = gradients(in, expected_y);
    EXPECT_TRUE(actual[0].is_contiguous(kChannelsLast));
    for (size_t i = 0; i < 2; ++i)
      EXPECT_TRUE(torch::allclose(actual[i], expected[i], 1e-10, 1e-10)) << k.channels << ' ' << i;
  }
}

TEST(HalvingConv, AgreesInBfloat16WithFloat32UpToItsRounding) {
  for (const auto& k : kCases) {
    const Inputs low = make_inputs(k, at::kBFloat16);
    const Inputs full{low.x.detach().to(at::kFloat).requires_grad_(),
                      low.weight.detach().to(at::kFloat).requires_grad_(), low.dy.to(at::kFloat)};
    const auto actual = gradients(low, halving_conv(low.x, low.weight));
    const auto expected = gradients(full, halving_conv_composed(full.x, full.weight));
    const auto composed = gradients(low, halving_conv_composed(low.x, low.weight));
    for (size_t i = 0; i < 2; ++i) {
      const auto error = [&](const Tensor& gradient) {
        return (gradient.to(at::kFloat) - expected[i]).abs().max().item<double>();
      };
      double bound = expected[i].abs().max().item<double>() / 64;
      // libtorch, whose operator makes the weights' gradient of large images, adds up in bfloat16
      // on processors without it. Nothing can be better than that, and nothing may be worse.
      if (!has_fast_bfloat16()) bound = std::max(bound, error(composed[i]));
      EXPECT_LE(error(actual[i]), bound) << k.channels << ' ' << i;
    }
  }
}

TEST(HalvingConv, PixelByHand) {
  // One pixel of the gradient, seen through each tap that reaches it: dx[u,v] = weight[u+1,v+1].
  const Tensor weight = torch::arange(16, at::kFloat).view({1, 1, 4, 4});
  const Tensor x = torch::zeros({1, 1, 2, 2}).requires_grad_();
  const Tensor dx = torch::autograd::grad({halving_conv(x, weight).sum()}, {x})[0];
  EXPECT_TRUE(torch::equal(dx.flatten(), torch::tensor({5.0F, 6.0F, 9.0F, 10.0F})));
}

TEST(HalvingConv, GivesOnlyTheGradientsThatAreAskedFor) {
  Inputs in = make_inputs(kCases[0], at::kFloat);
  const auto both = gradients(in, halving_conv(in.x, in.weight));
  const Tensor of_x = halving_conv(in.x, in.weight.detach());
  EXPECT_TRUE(torch::equal(torch::autograd::grad({of_x}, {in.x}, {in.dy})[0], both[0]));
  const Tensor of_weight = halving_conv(in.x.detach(), in.weight);
  EXPECT_TRUE(torch::equal(torch::autograd::grad({of_weight}, {in.weight}, {in.dy})[0], both[1]));
}

TEST(HalvingConv, HasSecondDerivatives) {
  torch::manual_seed(3);
  const auto options = torch::TensorOptions(at::kDouble).requires_grad(true);
  const auto slopes = [](const std::vector<Tensor>& in) {
    const at::AutoGradMode enabled(true);  // the check works without
    const Tensor y = halving_conv(in[0], in[1]);
    const auto found = torch::autograd::grad({y.square().sum()}, {in[0], in[1]}, {},
                                             /*retain_graph=*/true, /*create_graph=*/true);
    return torch::cat({found[0].flatten(), found[1].flatten()});
  };
  expect_gradients(slopes,
                   {torch::randn({2, 3, 4, 6}, options), torch::randn({2, 3, 4, 4}, options)});
}

TEST(HalvingConv, RefusesOddSizesAndOtherKernels) {
  const Tensor weight = torch::rand({4, 3, 4, 4});
  EXPECT_THROW(halving_conv(torch::rand({1, 3, 5, 4}), weight), c10::Error);
  EXPECT_THROW(halving_conv(torch::rand({1, 3, 4, 4}), torch::rand({4, 3, 3, 3})), c10::Error);
}

TEST(Convolve, HalvesAlikeOnEveryKindOfProcessor) {
  torch::manual_seed(5);
  Conv layer = make_conv(24, 48, 4, /*stride=*/2);
  const Tensor x = torch::randn({2, 24, 8, 8}).contiguous(kChannelsLast).requires_grad_();
  const ActivationType type(at::kBFloat16);
  const auto run = [&] {
    const Tensor y = convolve(layer, x);
    return torch::autograd::grad({y.square().sum()}, {x, layer->weight});
  };
  const auto here = run();
  const PlainOperators plain;
  const auto elsewhere = run();
  for (size_t i = 0; i < 2; ++i)
    EXPECT_TRUE(torch::allclose(here[i], elsewhere[i], 0.02, 0.05)) << i;
}

}  // namespace
}  // namespace flipside::halving_conv_test
