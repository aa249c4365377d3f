#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include "flipside/core/device.h"
#include "flipside/model/amx_kernels.h"
#include "flipside/model/blocks.h"
#include "flipside/model/winograd_kernels.h"
#include "support/conv_case.h"

namespace flipside::winograd_conv_test {
namespace {

// Whole tiles and cut ones; single pixels, rows and columns; more tiles than are taken at once, and
// fewer images than threads; channels that fill vectors of sixteen and that need one of eight.
const ConvCase kCases[] = {{2, 16, 32, 8, 12, 3}, {3, 32, 16, 5, 7, 3},   {1, 48, 48, 1, 1, 3},
                           {1, 16, 16, 1, 9, 3},  {2, 96, 80, 6, 3, 3},   {1, 16, 16, 60, 64, 3},
                           {2, 24, 48, 16, 8, 4}, {3, 8, 16, 10, 14, 4},  {1, 16, 32, 2, 2, 4},
                           {1, 4, 16, 2, 18, 4},  {1, 24, 64, 64, 56, 4}, {5, 96, 128, 8, 8, 4}};

struct Inputs {
  Tensor x, weight, dy;
};

Inputs make_inputs(const ConvCase& k, at::ScalarType type = at::kFloat) {
  torch::manual_seed(k.channels * 100 + k.width);
  const auto random = [&](at::IntArrayRef sizes) {
    return torch::randn(sizes, at::kDouble).to(type).contiguous(kChannelsLast);
  };
  const int64_t stride = k.side == 4 ? 2 : 1;
  return {random({k.n, k.channels, k.height, k.width}).requires_grad_(),
          random({k.out, k.channels, k.side, k.side}).requires_grad_(),
          random({k.n, k.out, k.height / stride, k.width / stride})};
}

/// Images in `type`, and weights in float32.
Inputs inputs_in(at::ScalarType type, const ConvCase& k) {
  Inputs in = make_inputs(k);
  return {in.x.detach().to(type).requires_grad_(), in.weight, in.dy.to(type)};
}

/// Types of images that the node knows on this processor.
std::vector<at::ScalarType> types_here() {
  if (!kernels::can_multiply_pairs()) return {at::kFloat};
  return {at::kFloat, at::kBFloat16};
}

std::vector<Tensor> gradients(const Inputs& in, const Tensor& y) {
  return torch::autograd::grad({y}, {in.x, in.weight}, {in.dy.to(y.scalar_type())});
}

/// The same numbers, as the sum takes them in float64.
Inputs in_float64(const Inputs& in) {
  return {in.x.detach().to(at::kDouble).requires_grad_(),
          in.weight.detach().to(at::kDouble).requires_grad_(), in.dy.to(at::kDouble)};
}

/// Up to what float32 makes of the sums, which grow with the largest of them.
void expect_close(const Tensor& actual, const Tensor& expected, const std::string& what) {
  ASSERT_EQ(actual.sizes(), expected.sizes()) << what;
  const Tensor error = (actual.to(at::kDouble) - expected).abs();
  EXPECT_LT(error.max().item<double>(), 1e-4 * expected.abs().max().item<double>()) << what;
}

TEST(WinogradConv, AgreesWithTheSumInFloat64) {
  for (const auto& k : kCases) {
    const Inputs in = make_inputs(k);
    const Inputs exact = in_float64(in);
    const std::string what = name_of(k);
    const Tensor y = winograd_conv(in.x, in.weight);
    const Tensor expected_y = winograd_conv_composed(exact.x, exact.weight);
    EXPECT_TRUE(y.is_contiguous(kChannelsLast));
    expect_close(y, expected_y, "y " + what);
    const auto actual = gradients(in, y), expected = gradients(exact, expected_y);
    EXPECT_TRUE(actual[0].is_contiguous(kChannelsLast));
    EXPECT_TRUE(actual[1].is_contiguous(kChannelsLast));
    expect_close(actual[0], expected[0], "dx " + what);
    expect_close(actual[1], expected[1], "dweight " + what);
  }
}

/// Root mean square of the error, by that of the value.
double relative_error(const Tensor& actual, const Tensor& expected) {
  const Tensor error = actual.to(at::kDouble) - expected;
  return (error.norm() / expected.norm()).item<double>();
}

// Numbers are rounded to bfloat16 (one part in 512 at most) where they are multiplied; weights come
// as float32, and their gradient leaves as that.
TEST(WinogradConv, InBFloat16AgreesWithTheSumInFloat64) {
  if (!kernels::can_multiply_pairs()) GTEST_SKIP() << "this processor multiplies no bfloat16";
  for (const auto& k : kCases) {
    const Inputs in = inputs_in(at::kBFloat16, k);
    const Inputs exact = in_float64(in);
    const Tensor y = winograd_conv(in.x, in.weight);
    const Tensor expected_y = winograd_conv_composed(exact.x, exact.weight);
    EXPECT_EQ(y.scalar_type(), at::kBFloat16);
    EXPECT_TRUE(y.is_contiguous(kChannelsLast));
    EXPECT_LT(relative_error(y, expected_y), 0.02) << "y " << name_of(k);
    const auto actual = gradients(in, y), expected = gradients(exact, expected_y);
    EXPECT_EQ(actual[1].scalar_type(), at::kFloat);
    EXPECT_LT(relative_error(actual[0], expected[0]), 0.02) << "dx " << name_of(k);
    EXPECT_LT(relative_error(actual[1], expected[1]), 0.02) << "dweight " << name_of(k);
  }
}

TEST(WinogradConv, PixelByHand) {
  // One bright pixel: what surrounds it is the kernel, turned.
  const Tensor weight = torch::arange(9, at::kFloat).view({1, 1, 3, 3}).expand({16, 16, 3, 3});
  Tensor x = torch::zeros({1, 16, 5, 5});
  x[0][3][2][2] = 1;
  const Tensor y = winograd_conv(x, weight.contiguous());
  const Tensor expected = weight[0][0].flip({0, 1}).to(at::kDouble);
  expect_close(y[0][7].slice(0, 1, 4).slice(1, 1, 4), expected, "around the pixel");
  EXPECT_NEAR(y[0][7].sum().item<double>(), 36, 1e-3);  // and nothing beyond
}

TEST(WinogradConv, GivesOnlyTheGradientsThatAreAskedFor) {
  for (const auto type : types_here())
    for (const auto& k : {kCases[0], kCases[6]}) {
      const Inputs in = inputs_in(type, k);
      const auto both = gradients(in, winograd_conv(in.x, in.weight));
      const Tensor of_x = winograd_conv(in.x, in.weight.detach());
      EXPECT_TRUE(torch::equal(torch::autograd::grad({of_x}, {in.x}, {in.dy})[0], both[0]));
      const Tensor of_weight = winograd_conv(in.x.detach(), in.weight);
      EXPECT_TRUE(
          torch::equal(torch::autograd::grad({of_weight}, {in.weight}, {in.dy})[0], both[1]));
    }
}

TEST(WinogradConv, RepeatsItselfToTheLastBit) {
  for (const auto type : types_here()) {
    const Inputs in = inputs_in(type, {7, 32, 32, 20, 20, 3});
    const auto run = [&] {
      const Tensor y = winograd_conv(in.x, in.weight);
      const auto found = gradients(in, y);
      return std::vector<Tensor>{y, found[0], found[1]};
    };
    const auto once = run(), again = run();
    for (size_t i = 0; i < 3; ++i) EXPECT_TRUE(torch::equal(once[i], again[i])) << i;
    // Of the threads only the weights' gradient is the work of all.
    const int threads = at::get_num_threads();
    at::set_num_threads(threads == 1 ? 2 : 1);
    const auto otherwise = run();
    at::set_num_threads(threads);
    for (size_t i = 0; i < 2; ++i) EXPECT_TRUE(torch::equal(once[i], otherwise[i])) << i;
    EXPECT_TRUE(torch::allclose(once[2], otherwise[2], 1e-4, 1e-3));
  }
}

TEST(WinogradConv, HasSecondDerivatives) {
  torch::manual_seed(3);
  Tensor x = torch::randn({1, 16, 4, 4}).requires_grad_();
  Tensor weight = torch::randn({16, 16, 3, 3}).requires_grad_();
  const auto slopes = [&](const Tensor& y) {
    const auto first = torch::autograd::grad({y.square().sum()}, {x, weight}, {},
                                             /*retain_graph=*/true, /*create_graph=*/true);
    return torch::autograd::grad({first[0].square().sum() + first[1].square().sum()}, {x, weight});
  };
  const auto actual = slopes(winograd_conv(x, weight));
  const auto expected = slopes(winograd_conv_composed(x, weight));
  for (size_t i = 0; i < 2; ++i) expect_close(actual[i], expected[i].to(at::kDouble), "second");
}

TEST(WinogradConv, LeavesToLibtorchWhatItDoesNotKnow) {
  for (const auto& k :
       {ConvCase{2, 3, 16, 8, 8, 3}, ConvCase{2, 16, 24, 8, 8, 3}, ConvCase{2, 2, 16, 8, 8, 4}}) {
    const Inputs in = make_inputs(k);
    EXPECT_TRUE(
        torch::equal(winograd_conv(in.x, in.weight), winograd_conv_composed(in.x, in.weight)));
  }
  const Inputs exact = make_inputs(kCases[0], at::kDouble);
  EXPECT_TRUE(torch::equal(winograd_conv(exact.x, exact.weight),
                           winograd_conv_composed(exact.x, exact.weight)));
  const Tensor weight = torch::rand({16, 16, 4, 4});
  EXPECT_THROW(winograd_conv(torch::rand({1, 16, 5, 4}), weight), c10::Error);
  EXPECT_THROW(winograd_conv(torch::rand({1, 16, 8, 8}), torch::rand({16, 16, 5, 5})), c10::Error);
}

TEST(WinogradConv, WeightsThatAreKeptMakeNoDifference) {
  for (const auto type : types_here())
    for (const auto& k : kCases) {
      const Inputs in = inputs_in(type, k);
      const Tensor kept = winograd_weights(in.weight, type);
      const bool is_multiplied = type == at::kFloat || !kernels::has_amx();
      ASSERT_EQ(kept.defined(), k.channels % 8 == 0 && is_multiplied);
      EXPECT_FALSE(kept.defined() && kept.requires_grad());
      const Tensor y = winograd_conv(in.x, in.weight, kept);
      EXPECT_TRUE(torch::equal(y, winograd_conv(in.x, in.weight)));
      const auto here = gradients(in, y), expected = gradients(in, winograd_conv(in.x, in.weight));
      for (size_t i = 0; i < here.size(); ++i) EXPECT_TRUE(torch::equal(here[i], expected[i])) << i;
    }
  EXPECT_FALSE(winograd_weights(torch::rand({16, 16, 1, 1})).defined());
  EXPECT_FALSE(winograd_weights(torch::rand({16, 16, 5, 5})).defined());
  EXPECT_FALSE(winograd_weights(torch::rand({16, 16, 3, 3}, at::kDouble)).defined());
}

TEST(WinogradConv, IsPreferredForLargeBatchesOfWhatItKnows) {
  const auto prefers = [](int64_t n, int64_t channels, int64_t pixels, int64_t side,
                          bool keeps = false, at::ScalarType type = at::kFloat) {
    return prefers_winograd(torch::empty({n, channels, pixels, pixels}, type),
                            torch::empty({32, channels, side, side}), keeps);
  };
  const bool here = kernels::has_winograd_vectors();
  EXPECT_EQ(prefers(8, 16, 16, 3), here);
  EXPECT_EQ(prefers(8, 24, 32, 4), here);
  EXPECT_FALSE(prefers(8, 24, 16, 4));  // 512 pixels come out
  EXPECT_EQ(prefers(8, 24, 16, 4, /*keeps=*/true), here);
  EXPECT_EQ(prefers(1, 16, 8, 3, /*keeps=*/true), here);
  EXPECT_FALSE(prefers(1, 16, 4, 3, /*keeps=*/true));
  EXPECT_FALSE(prefers(64, 3, 64, 3));
  EXPECT_FALSE(prefers(64, 16, 64, 1));
  EXPECT_FALSE(prefers(64, 16, 63, 4));
  // Where the processor multiplies tiles, gradients of stride 2 alone.
  const bool pairs_here = kernels::has_pair_products(), tiles_here = kernels::has_amx();
  const auto prefers_bfloat16 = [&](int64_t pixels, int64_t side) {
    return prefers(8, 24, pixels, side, /*keeps=*/false, at::kBFloat16);
  };
  EXPECT_EQ(prefers(8, 16, 16, 3, /*keeps=*/false, at::kBFloat16), pairs_here && !tiles_here);
  EXPECT_EQ(prefers_bfloat16(32, 4), pairs_here);
  {
    const torch::NoGradGuard no_grad;
    EXPECT_EQ(prefers_bfloat16(32, 4), pairs_here && !tiles_here);
  }
  EXPECT_FALSE(prefers(8, 16, 16, 3, /*keeps=*/false, at::kDouble));
  const PlainOperators plain;
  EXPECT_FALSE(prefers(8, 16, 16, 3));
}

TEST(Convolve, TakesTheFasterWay) {
  torch::manual_seed(5);
  Conv layer = make_conv(24, 48, 4);
  const Tensor x = torch::randn({8, 24, 32, 32}).contiguous(kChannelsLast);
  const Tensor here = convolve(layer, x);
  const bool preferred = prefers_winograd(x, layer->weight);
  EXPECT_TRUE(torch::equal(here, preferred ? winograd_conv(x, layer->weight) : layer(x)));
  EXPECT_TRUE(torch::allclose(here, layer(x), 1e-4, 1e-4));
}

TEST(Convolve, TakesTheFasterWayInBFloat16) {
  torch::manual_seed(5);
  Conv layer = make_conv(24, 48, 4);
  const Tensor x = torch::randn({8, 24, 32, 32}).to(at::kBFloat16).contiguous(kChannelsLast);
  const ActivationType type(at::kBFloat16);
  const Tensor here = convolve(layer, x);
  if (prefers_winograd(x, layer->weight)) {
    EXPECT_TRUE(torch::equal(here, winograd_conv(x, layer->weight)));
  }
  const Tensor exact = winograd_conv_composed(x.to(at::kDouble), layer->weight);
  EXPECT_EQ(here.scalar_type(), at::kBFloat16);
  EXPECT_LT(relative_error(here, exact), 0.02);
}

TEST(Conv, KeepsItsWeightsUntilTheyChange) {
  torch::manual_seed(5);
  Conv layer = make_conv(16, 32, 3);
  torch::NoGradGuard no_grad;
  const Tensor kept = layer->kept_weights();
  EXPECT_TRUE(torch::equal(kept, winograd_weights(layer->weight)));
  EXPECT_TRUE(layer->kept_weights().is_same(kept));
  layer->weight.mul_(2);
  EXPECT_TRUE(torch::equal(layer->kept_weights(), 2 * kept));
  layer->weight.set_data(layer->weight / 2);
  EXPECT_TRUE(torch::equal(layer->kept_weights(), kept));
  if (!kernels::can_multiply_pairs()) return;
  const Tensor rounded = layer->kept_weights(at::kBFloat16);
  EXPECT_EQ(rounded.defined(), !kernels::has_amx());  // with tiles another way is taken
  EXPECT_TRUE(!rounded.defined() || rounded.scalar_type() == at::kBFloat16);
  const Tensor full = layer->kept_weights();  // neither kind takes the other's place
  EXPECT_TRUE(layer->kept_weights(at::kBFloat16).is_same(rounded));
  EXPECT_TRUE(layer->kept_weights().is_same(full));
  const Tensor direct = layer->kept_direct_weights();
  EXPECT_TRUE(torch::equal(direct, direct_weights(layer->weight)));
  EXPECT_TRUE(layer->kept_direct_weights().is_same(direct));
  layer->weight.mul_(2);
  EXPECT_TRUE(torch::equal(layer->kept_direct_weights(), 2 * direct));
  layer->weight.div_(2);
  EXPECT_TRUE(torch::equal(layer->kept_weights(), kept));
}

TEST(Convolve, FrozenWeightsThatChangeAreSeen) {
  torch::manual_seed(5);
  Conv layer = make_conv(16, 32, 3);
  const Tensor x = torch::randn({1, 16, 16, 16}).contiguous(kChannelsLast);
  EXPECT_FALSE(layer->is_frozen());
  for (auto& parameter : layer->parameters()) parameter.set_requires_grad(false);
  ASSERT_TRUE(layer->is_frozen());
  for (int i = 0; i < 3; ++i) {
    EXPECT_TRUE(torch::allclose(convolve(layer, x), layer(x), 1e-4, 1e-4)) << i;
    layer->weight.add_(0.1 * i);
  }
}

// libtorch leaves these to its product of matrices, `convolve` does not.
TEST(Convolve, ASmallImageThatComesAlone) {
  for (const int64_t kernel : {3, 1, 4})
    for (const bool bias : {false, true}) {
      torch::manual_seed(5);
      Conv layer = make_conv(32, 24, kernel, bias);
      to_channels_last(*layer);
      const Tensor x = torch::randn({1, 32, 8, 6}).contiguous(kChannelsLast).requires_grad_();
      const auto gradients_of = [&](const Tensor& y) {
        return torch::autograd::grad({y.square().sum()}, {x, layer->weight});
      };
      const Tensor here = convolve(layer, x), expected = layer(x);
      EXPECT_TRUE(torch::allclose(here, expected, 1e-4, 1e-5)) << kernel << bias;
      const auto ours = gradients_of(here), theirs = gradients_of(expected);
      for (size_t i = 0; i < ours.size(); ++i)
        EXPECT_TRUE(torch::allclose(ours[i], theirs[i], 1e-3, 1e-3)) << kernel << bias << i;
    }
}

}  // namespace
}  // namespace flipside::winograd_conv_test
