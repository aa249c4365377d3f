#include <gtest/gtest.h>

#include "flipside/model/blocks.h"
#include "support/gradcheck.h"

namespace flipside::average_and_max_test {
namespace {

struct Case {
  int64_t n, c, h, w;
};

// Vectors of both widths, and single pixels.
const Case kCases[] = {{2, 24, 5, 7}, {1, 128, 8, 8}, {3, 8, 1, 6}, {2, 40, 1, 1}};

Tensor make_input(const Case& k) {
  torch::manual_seed(k.c * 100 + k.w);
  return torch::randn({k.n, k.c, k.h, k.w}).contiguous(kChannelsLast);
}

TEST(AverageAndMax, AgreesWithTheComposedOperatorsInDouble) {
  for (const auto& k : kCases) {
    const Tensor x = make_input(k).requires_grad_();
    const Tensor x64 = x.detach().to(at::kDouble).requires_grad_();
    const Tensor y = average_and_max(x), y64 = average_and_max_composed(x64);
    EXPECT_TRUE(torch::allclose(y.to(at::kDouble), y64, 1e-6, 1e-6));
    const Tensor dy = torch::randn_like(y);
    const Tensor dx = torch::autograd::grad({y}, {x}, {dy})[0];
    EXPECT_TRUE(dx.is_contiguous(kChannelsLast));
    EXPECT_TRUE(torch::allclose(dx.to(at::kDouble),
                                torch::autograd::grad({y64}, {x64}, {dy.to(at::kDouble)})[0], 1e-5,
                                1e-6));
  }
}

TEST(AverageAndMax, ByHandWherePixelsShareTheMaximum) {
  // Pixels 1, 3, 3, -1 in each of eight channels.
  const Tensor x = torch::tensor({1.0F, 3.0F, 3.0F, -1.0F})
                       .view({1, 1, 2, 2})
                       .repeat({1, 8, 1, 1})
                       .requires_grad_();
  const Tensor y = average_and_max(x);
  const Tensor dy = torch::cat({torch::full({1, 8}, 4.0F), torch::full({1, 8}, 10.0F)}, 1);
  const Tensor dx = torch::autograd::grad({y}, {x}, {dy})[0];
  const std::vector<float> expected{1, 6, 6, 1};  // 4 / 4, and 10 / 2 at the greatest
  for (int64_t c = 0; c < 8; ++c) {
    EXPECT_EQ(y[0][c].item<float>(), 1.5F);
    EXPECT_EQ(y[0][8 + c].item<float>(), 3.0F);
    for (int64_t p = 0; p < 4; ++p)
      EXPECT_EQ(dx[0][c][p / 2][p % 2].item<float>(), expected[p]) << p;
  }
}

TEST(AverageAndMax, InBfloat16RoundsOnceFromFloat32) {
  for (const auto& k : kCases) {
    const Tensor low = make_input(k).to(at::kBFloat16).requires_grad_();
    const Tensor full = low.detach().to(at::kFloat).requires_grad_();
    const Tensor y = average_and_max(low), y32 = average_and_max(full);
    EXPECT_EQ(y.scalar_type(), at::kFloat);
    EXPECT_TRUE(torch::equal(y, y32));
    const Tensor dy = torch::randn_like(y);
    const Tensor dx = torch::autograd::grad({y}, {low}, {dy})[0];
    const Tensor dx32 = torch::autograd::grad({y32}, {full}, {dy})[0];
    EXPECT_TRUE(torch::equal(dx, dx32.to(at::kBFloat16)));
  }
}

TEST(AverageAndMax, HasSecondDerivatives) {
  const Tensor x = make_input(kCases[0]).requires_grad_();
  const auto penalty = [&](const Tensor& y) {
    const Tensor slope = torch::autograd::grad({y.pow(3).sum()}, {x}, {}, /*retain_graph=*/true,
                                               /*create_graph=*/true)[0];
    return torch::autograd::grad({slope.square().sum()}, {x})[0];
  };
  EXPECT_TRUE(torch::allclose(penalty(average_and_max(x)), penalty(average_and_max_composed(x)),
                              1e-4, 1e-4));
}

TEST(AverageAndMax, ComposedGradientsAreRight) {
  torch::manual_seed(3);
  expect_gradients(
      [](const std::vector<Tensor>& in) { return average_and_max_composed(in[0]); },
      {torch::randn({2, 3, 3, 2}, torch::TensorOptions(at::kDouble).requires_grad(true))});
}

}  // namespace
}  // namespace flipside::average_and_max_test
