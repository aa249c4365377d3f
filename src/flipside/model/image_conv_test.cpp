#include <gtest/gtest.h>

#include "flipside/model/blocks.h"
#include "support/gradcheck.h"

namespace flipside::image_conv_test {
namespace {

struct Case {
  int64_t n, channels, h, w;
};

// Both widths of vectors, rows that are no multiple of what is done at once, a single pixel.
const Case kCases[] = {{3, 24, 16, 16}, {2, 8, 5, 11}, {1, 16, 7, 1}, {2, 40, 1, 1}, {2, 32, 2, 9}};

struct Inputs {
  Tensor images, weight, bias, dy;

  std::vector<Tensor> leaves() const { return {images, weight, bias}; }
};

Inputs make_inputs(const Case& k) {
  torch::manual_seed(k.channels * 100 + k.w);
  return {torch::rand({k.n, 3, k.h, k.w}).contiguous(kChannelsLast).requires_grad_(),
          torch::randn({k.channels, 3, 3, 3}).contiguous(kChannelsLast).requires_grad_(),
          torch::randn({k.channels}).requires_grad_(),
          torch::randn({k.n, k.channels, k.h, k.w}).contiguous(kChannelsLast)};
}

std::vector<Tensor> in_double(const std::vector<Tensor>& inputs) {
  std::vector<Tensor> result;
  for (const auto& input : inputs)
    result.push_back(input.detach().to(at::kDouble).requires_grad_());
  return result;
}

void expect_close(const Tensor& actual, const Tensor& expected, double tolerance) {
  const double scale = 1 + expected.abs().max().item<double>();
  EXPECT_LT((actual - expected).abs().max().item<double>(), tolerance * scale);
}

TEST(ImageConv, AgreesWithTheComposedOperatorsInDouble) {
  for (const auto& k : kCases) {
    const Inputs in = make_inputs(k);
    const auto leaves = in_double(in.leaves());
    const Tensor y = image_conv(in.images, in.weight, in.bias, 0.1);
    const Tensor y64 = image_conv_composed(leaves[0], leaves[1], leaves[2], 0.1);
    EXPECT_TRUE(y.is_contiguous(kChannelsLast));
    expect_close(y.to(at::kDouble), y64, 2e-6);
    const auto actual = torch::autograd::grad({y}, in.leaves(), {in.dy});
    const auto expected = torch::autograd::grad({y64}, leaves, {in.dy.to(at::kDouble)});
    for (size_t i = 0; i < 3; ++i) expect_close(actual[i].to(at::kDouble), expected[i], 2e-6);
    EXPECT_TRUE(actual[0].is_contiguous(kChannelsLast));
    EXPECT_TRUE(actual[1].is_contiguous(kChannelsLast));
  }
}

TEST(ImageConv, WithoutBiasAndActivationIsAConvolution) {
  const Inputs in = make_inputs(kCases[1]);
  const auto leaves = in_double({in.images, in.weight});
  const Tensor y = image_conv(in.images, in.weight, /*bias=*/{}, /*slope=*/1.0);
  const Tensor y64 = at::conv2d(2 * leaves[0] - 1, leaves[1], {}, /*stride=*/1, /*padding=*/1);
  expect_close(y.to(at::kDouble), y64, 2e-6);
  expect_close(image_conv_composed(leaves[0], leaves[1], {}, 1.0), y64, 1e-12);
  const auto actual = torch::autograd::grad({y}, {in.images, in.weight}, {in.dy});
  const auto expected = torch::autograd::grad({y64}, leaves, {in.dy.to(at::kDouble)});
  for (size_t i = 0; i < 2; ++i) expect_close(actual[i].to(at::kDouble), expected[i], 2e-6);
}

TEST(ImageConv, ComposedGradientsAreRight) {
  torch::manual_seed(3);
  const auto options = torch::TensorOptions(at::kDouble).requires_grad(true);
  expect_gradients(
      [](const std::vector<Tensor>& in) { return image_conv_composed(in[0], in[1], in[2], 0.1); },
      {torch::rand({2, 3, 3, 4}, options), torch::randn({4, 3, 3, 3}, options),
       torch::randn({4}, options)});
}

TEST(ImageConv, BlackImagesByHand) {
  // Black is -1 inside; what is padded is 0. All weights 1: minus three times the taps inside.
  const Tensor y = image_conv(torch::zeros({1, 3, 3, 3}), torch::ones({8, 3, 3, 3}),
                              torch::full({8}, 20.0), 0.5);
  EXPECT_EQ(y[0][5][1][1].item<float>(), 0.5F * (20 - 27));
  EXPECT_EQ(y[0][5][0][1].item<float>(), 20 - 18);
  EXPECT_EQ(y[0][5][0][0].item<float>(), 20 - 12);
}

TEST(ImageConv, BFloat16IsTheRoundedResultOfFloat32) {
  const Inputs in = make_inputs(kCases[0]);
  const Tensor full = image_conv(in.images, in.weight, in.bias, 0.1);
  const ActivationType type(at::kBFloat16);
  const Tensor half = image_conv(in.images, in.weight, in.bias, 0.1);
  EXPECT_EQ(half.scalar_type(), at::kBFloat16);
  EXPECT_TRUE(torch::equal(half, full.to(at::kBFloat16)));
  const Tensor dy = in.dy.to(at::kBFloat16);
  const auto expected = torch::autograd::grad({full}, in.leaves(), {dy.to(at::kFloat)});
  const auto actual = torch::autograd::grad({half}, in.leaves(), {dy});
  for (size_t i = 0; i < 3; ++i) EXPECT_TRUE(torch::equal(actual[i], expected[i]));
  expect_close(half, image_conv_composed(in.images, in.weight, in.bias, 0.1), 0.02);
}

TEST(ImageConv, GivesOnlyTheGradientsAskedFor) {
  const Inputs in = make_inputs(kCases[0]);
  const auto all =
      torch::autograd::grad({image_conv(in.images, in.weight, in.bias, 0.1)}, in.leaves(), {in.dy});
  const Tensor frozen = image_conv(in.images, in.weight.detach(), in.bias.detach(), 0.1);
  EXPECT_TRUE(torch::equal(torch::autograd::grad({frozen}, {in.images}, {in.dy})[0], all[0]));
  const Tensor fixed = image_conv(in.images.detach(), in.weight, in.bias, 0.1);
  const auto weights = torch::autograd::grad({fixed}, {in.weight, in.bias}, {in.dy});
  EXPECT_TRUE(torch::equal(weights[0], all[1]));
  EXPECT_TRUE(torch::equal(weights[1], all[2]));
}

TEST(ImageConv, HasSecondDerivatives) {
  const Inputs in = make_inputs(kCases[1]);
  const auto penalty = [&](const Tensor& y) {
    const Tensor slope = torch::autograd::grad({y.square().sum()}, {in.images}, {},
                                               /*retain_graph=*/true, /*create_graph=*/true)[0];
    return torch::autograd::grad({slope.square().sum()}, {in.weight})[0];
  };
  const Tensor fused = penalty(image_conv(in.images, in.weight, in.bias, 0.1));
  const Tensor composed = penalty(image_conv_composed(in.images, in.weight, in.bias, 0.1));
  EXPECT_TRUE(torch::allclose(fused, composed, 1e-4, 1e-2));
}

TEST(ImageConv, DoesNotDependOnTheNumberOfThreads) {
  const int threads = at::get_num_threads();
  for (const auto& k : kCases) {
    const Inputs in = make_inputs(k);
    const auto run = [&](int count) {
      at::set_num_threads(count);
      const Tensor y = image_conv(in.images, in.weight, in.bias, 0.1);
      auto results = torch::autograd::grad({y}, in.leaves(), {in.dy});
      results.push_back(y);
      return results;
    };
    const auto one = run(1), three = run(3);
    at::set_num_threads(threads);
    for (size_t i = 0; i < one.size(); ++i) EXPECT_TRUE(torch::equal(one[i], three[i]));
  }
}

TEST(ImageConv, TakesAnyLayoutAndOtherWidths) {
  const Inputs in = make_inputs(kCases[0]);
  const Tensor usual = image_conv(in.images, in.weight, in.bias, 0.1);
  EXPECT_TRUE(torch::equal(image_conv(in.images.contiguous(), in.weight.contiguous(), in.bias, 0.1),
                           usual));
  const Tensor narrow =
      image_conv(in.images, in.weight.slice(0, 0, 5), in.bias.slice(0, 0, 5), 0.1);
  expect_close(narrow, usual.slice(1, 0, 5), 1e-5);
}

}  // namespace
}  // namespace flipside::image_conv_test
