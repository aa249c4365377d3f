#include <gtest/gtest.h>

#include <cmath>

#include "flipside/model/blocks.h"
#include "support/gradcheck.h"

namespace flipside::residual_output_test {
namespace {

struct Inputs {
  Tensor image, raw, dresult, dattention;

  std::vector<Tensor> leaves() const { return {image, raw}; }
};

Inputs make_inputs(int64_t n, int64_t h, int64_t w, double scale = 2.0) {
  torch::manual_seed(n * 100 + w);
  return {torch::rand({n, 3, h, w}).contiguous(kChannelsLast).requires_grad_(),
          (scale * torch::randn({n, 4, h, w})).contiguous(kChannelsLast).requires_grad_(),
          torch::randn({n, 3, h, w}), torch::randn({n, 1, h, w})};
}

TEST(AddAttendedChange, AgreesWithTheComposedOperatorsInDouble) {
  // Whole blocks, less than a vector, a rest; and values far in the flat parts of both functions.
  for (const auto& [n, h, w, scale] : {std::tuple<int64_t, int64_t, int64_t, double>{2, 16, 16, 2},
                                       {1, 1, 1, 2},
                                       {3, 7, 13, 1e-3},
                                       {2, 9, 9, 60}}) {
    const Inputs in = make_inputs(n, h, w, scale);
    const Tensor image = in.image.detach().to(at::kDouble).requires_grad_();
    const Tensor raw = in.raw.detach().to(at::kDouble).requires_grad_();
    const auto [y, a] = add_attended_change(in.image, in.raw);
    const auto [y64, a64] = add_attended_change_composed(image, raw);
    EXPECT_LT((y - y64).abs().max().item<double>(), 2e-7);
    EXPECT_LT((a - a64).abs().max().item<double>(), 2e-7);
    EXPECT_TRUE(y.is_contiguous(kChannelsLast));
    const auto actual = torch::autograd::grad({y, a}, in.leaves(), {in.dresult, in.dattention});
    const auto expected = torch::autograd::grad(
        {y64, a64}, {image, raw}, {in.dresult.to(at::kDouble), in.dattention.to(at::kDouble)});
    for (size_t i = 0; i < 2; ++i)
      EXPECT_LT((actual[i] - expected[i]).abs().max().item<double>(), 2e-6);
  }
}

TEST(AddAttendedChange, OneOutputAloneHasGradientsToo) {
  const Inputs in = make_inputs(2, 8, 8);
  const auto fused = add_attended_change(in.image, in.raw);
  const auto composed = add_attended_change_composed(in.image, in.raw);
  const auto of = [&](const Tensor& output, const Tensor& gradient) {
    return torch::autograd::grad({output}, {in.raw}, {gradient}, /*retain_graph=*/true)[0];
  };
  EXPECT_TRUE(
      torch::allclose(of(fused.first, in.dresult), of(composed.first, in.dresult), 1e-5, 1e-6));
  EXPECT_TRUE(torch::allclose(of(fused.second, in.dattention), of(composed.second, in.dattention),
                              1e-5, 1e-6));
}

TEST(AddAttendedChange, ComposedGradientsAreRight) {
  torch::manual_seed(5);
  // Inside (0,1), where the clamp has no corner.
  const Tensor image = 0.4 + 0.2 * torch::rand({2, 3, 3, 4}, at::kDouble);
  const Tensor raw = 0.1 * torch::randn({2, 4, 3, 4}, at::kDouble);
  expect_gradients(
      [](const std::vector<Tensor>& in) {
        const auto [y, a] = add_attended_change_composed(in[0], in[1]);
        return torch::cat({y, a}, 1);
      },
      {image.detach().requires_grad_(), raw.detach().requires_grad_()});
}

TEST(AddAttendedChange, ClampsAndKeepsNaN) {
  Tensor image = torch::tensor({0.0F, 1.0F, std::nanf("")}).view({1, 3, 1, 1});
  Tensor raw = torch::tensor({-9.0F, 9.0F, 0.0F, 9.0F}).view({1, 4, 1, 1});
  const Tensor y = add_attended_change(image, raw).first.flatten();
  EXPECT_EQ(y[0].item<float>(), 0.0F);
  EXPECT_EQ(y[1].item<float>(), 1.0F);
  EXPECT_TRUE(std::isnan(y[2].item<float>()));
}

TEST(AddAttendedChange, HasSecondDerivatives) {
  const Inputs in = make_inputs(1, 4, 4);
  const auto penalty = [&](const std::pair<Tensor, Tensor>& outputs) {
    const Tensor sum = outputs.first.square().sum() + outputs.second.square().sum();
    const Tensor slope = torch::autograd::grad({sum}, {in.image}, {}, /*retain_graph=*/true,
                                               /*create_graph=*/true)[0];
    return torch::autograd::grad({slope.square().sum()}, {in.raw})[0];
  };
  const Tensor fused = penalty(add_attended_change(in.image, in.raw));
  const Tensor composed = penalty(add_attended_change_composed(in.image, in.raw));
  EXPECT_TRUE(torch::allclose(fused, composed, 1e-4, 1e-5));
}

}  // namespace
}  // namespace flipside::residual_output_test
