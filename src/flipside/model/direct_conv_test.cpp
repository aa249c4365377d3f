#include <gtest/gtest.h>

#include "flipside/core/device.h"
#include "flipside/model/blocks.h"
#include "flipside/model/winograd_kernels.h"
#include "support/conv_case.h"

namespace flipside::direct_conv_test {
namespace {

// Rows of whole tiles, of parts of one, and of both; blocks of four, two and one; outputs that fill
// panels, that leave a part of one empty, and that share one; depths that tiles divide and that
// leave a rest; more rows than are taken at once; more images than threads, and fewer.
const ConvCase kCases[] = {{2, 16, 32, 8, 16, 4},   {1, 32, 64, 6, 70, 4}, {1, 24, 48, 40, 40, 3},
                           {3, 16, 16, 5, 64, 3},   {1, 16, 16, 3, 40, 3}, {2, 96, 112, 8, 8, 3},
                           {1, 128, 64, 70, 16, 3}, {5, 64, 32, 4, 24, 1}, {2, 8, 80, 9, 7, 1},
                           {1, 2, 48, 1, 1, 1},     {2, 16, 4, 9, 32, 3},  {1, 16, 1, 5, 48, 3},
                           {2, 32, 24, 6, 12, 3},   {1, 6, 40, 7, 10, 3},  {1, 22, 8, 6, 6, 3},
                           {17, 16, 8, 2, 6, 3},    {1, 10, 16, 2, 2, 4},  {4, 48, 2, 3, 16, 1}};

struct Inputs {
  Tensor x, weight, bias;
};

Inputs make_inputs(const ConvCase& k) {
  torch::manual_seed(k.channels * 100 + k.width);
  return {torch::randn({k.n, k.channels, k.height, k.width})
              .to(at::kBFloat16)
              .contiguous(kChannelsLast),
          torch::randn({k.out, k.channels, k.side, k.side}).contiguous(kChannelsLast),
          torch::randn({k.out})};
}

/// The sum in float64 of what is multiplied: weights in bfloat16.
Tensor exact(const Inputs& in, const Tensor& bias) {
  const Tensor weight = in.weight.to(at::kBFloat16).to(at::kDouble);
  const int64_t side = weight.size(2);
  return at::conv2d(in.x.to(at::kDouble), weight, bias.defined() ? bias.to(at::kDouble) : bias,
                    side == 4 ? 2 : 1, (side - 1) / 2);
}

TEST(DirectConv, AgreesWithTheSumInFloat64) {
  if (!kernels::can_multiply_pairs()) GTEST_SKIP() << "this processor multiplies no bfloat16";
  for (const auto& k : kCases) {
    const Inputs in = make_inputs(k);
    ASSERT_TRUE(takes_direct(in.x, in.weight)) << name_of(k);
    for (const Tensor& bias : {Tensor(), in.bias}) {
      const Tensor y = direct_conv(in.x, in.weight, bias), expected = exact(in, bias);
      EXPECT_TRUE(y.is_contiguous(kChannelsLast));
      EXPECT_EQ(y.scalar_type(), at::kBFloat16);
      ASSERT_EQ(y.sizes(), expected.sizes()) << name_of(k);
      // Rounded once, to eight digits, and summed in float32.
      EXPECT_TRUE(torch::allclose(y.to(at::kDouble), expected, 1.0 / 256, 1e-3)) << name_of(k);
    }
  }
}

TEST(DirectConv, PixelByHand) {
  if (!kernels::can_multiply_pairs()) GTEST_SKIP() << "this processor multiplies no bfloat16";
  // One pixel of one channel is set, and each output shows the tap that meets it.
  Tensor x = torch::zeros({1, 2, 4, 16}, at::kBFloat16).contiguous(kChannelsLast);
  x[0][1][2][5] = 1;
  Tensor weight = torch::zeros({4, 2, 3, 3});
  weight[3][1] = torch::arange(1, 10).view({3, 3});
  const Tensor y = direct_conv(x, weight.contiguous(kChannelsLast));
  Tensor expected = torch::zeros({1, 4, 4, 16});
  for (int64_t i = 0; i < 3; ++i)
    for (int64_t j = 0; j < 3; ++j) expected[0][3][1 + i][4 + j] = 9 - (3 * i + j);
  EXPECT_TRUE(torch::equal(y.to(at::kFloat), expected));
}

TEST(DirectConv, WeightsThatAreKeptMakeNoDifference) {
  if (!kernels::can_multiply_pairs()) GTEST_SKIP() << "this processor multiplies no bfloat16";
  for (const auto& k : kCases) {
    const Inputs in = make_inputs(k);
    const Tensor kept = direct_weights(in.weight);
    ASSERT_TRUE(kept.defined()) << name_of(k);
    EXPECT_TRUE(torch::equal(direct_conv(in.x, in.weight, in.bias, kept),
                             direct_conv(in.x, in.weight, in.bias)))
        << name_of(k);
  }
  EXPECT_FALSE(direct_weights(torch::rand({16, 16, 5, 5})).defined());
  EXPECT_FALSE(direct_weights(torch::rand({16, 16, 3, 1})).defined());
  EXPECT_FALSE(direct_weights(torch::rand({16, 3, 3, 3})).defined());
  EXPECT_FALSE(direct_weights(torch::rand({16, 16, 3, 3}, at::kDouble)).defined());
}

TEST(DirectConv, IsAskedWhereNoGradientIs) {
  const bool here = kernels::can_multiply_pairs();
  const auto takes = [](at::IntArrayRef x, at::IntArrayRef weight,
                        at::ScalarType type = at::kBFloat16) {
    return takes_direct(torch::empty(x, type), torch::empty(weight));
  };
  EXPECT_EQ(takes({1, 16, 8, 8}, {32, 16, 3, 3}), here);
  EXPECT_FALSE(takes({1, 16, 8, 8}, {32, 16, 3, 3}, at::kFloat));
  EXPECT_FALSE(takes({1, 16, 7, 8}, {32, 16, 4, 4}));  // cannot be halved
  EXPECT_FALSE(takes({1, 16, 8, 10}, {4, 16, 3, 3}));  // outputs that share a panel by fours
  EXPECT_FALSE(takes({1, 16, 8, 9}, {20, 16, 3, 3}));  // rows that no vectors fill
  EXPECT_FALSE(takes({0, 16, 8, 8}, {32, 16, 3, 3}));
  const Tensor x = torch::empty({1, 16, 8, 8}, at::kBFloat16);
  const Tensor weight = torch::empty({32, 16, 3, 3}).requires_grad_();
  EXPECT_FALSE(takes_direct(x, weight));
  EXPECT_FALSE(takes_direct(x.clone().requires_grad_(), weight.detach()));
  {
    const torch::NoGradGuard no_grad;
    EXPECT_EQ(takes_direct(x, weight), here);
  }
  EXPECT_EQ(prefers_direct(x, weight.detach()), kernels::has_pair_products());
  const PlainOperators plain;
  EXPECT_FALSE(takes({1, 16, 8, 8}, {32, 16, 3, 3}));
}

// On every processor, by whichever way is taken there.
TEST(DirectConv, FrozenLayersInBFloat16AgreeWithTheSum) {
  const ActivationType type(at::kBFloat16);
  for (const auto& k : kCases) {
    const Inputs in = make_inputs(k);
    Conv layer = make_conv(k.channels, k.out, k.side, /*bias=*/true);
    layer->weight.set_data(in.weight);
    layer->bias.set_data(in.bias);
    for (auto& parameter : layer->parameters()) parameter.set_requires_grad(false);
    for (int i = 0; i < 2; ++i) {
      const Tensor y = convolve(layer, in.x).to(at::kDouble), expected = exact(in, in.bias);
      EXPECT_LT((y - expected).abs().max().item<double>(),
                0.02 * expected.abs().max().item<double>())
          << name_of(k);
    }
  }
}

}  // namespace
}  // namespace flipside::direct_conv_test
