#include <gtest/gtest.h>

#include "flipside/model/blocks.h"
#include "support/gradcheck.h"

namespace flipside::upsample_concat_test {
namespace {

struct Case {
  int64_t n, c, s, h, w;
};

// Tiles of both widths, a skip of another width, single rows, columns and pixels.
const Case kCases[] = {{2, 24, 24, 5, 7}, {1, 16, 3, 4, 4}, {3, 8, 8, 1, 6},
                       {2, 8, 16, 6, 1},  {1, 8, 8, 1, 1},  {2, 40, 40, 16, 16}};

struct Inputs {
  Tensor x, skip, dy;
};

Inputs make_inputs(const Case& k) {
  torch::manual_seed(k.c * 100 + k.w);
  const auto dense = [](const Tensor& t) { return t.contiguous(kChannelsLast); };
  return {dense(torch::randn({k.n, k.c, k.h, k.w})).requires_grad_(),
          dense(torch::randn({k.n, k.s, 2 * k.h, 2 * k.w})).requires_grad_(),
          dense(torch::randn({k.n, k.c + k.s, 2 * k.h, 2 * k.w}))};
}

TEST(UpsampleConcat, AgreesWithTheComposedOperatorsInDouble) {
  for (const auto& k : kCases) {
    const Inputs in = make_inputs(k);
    const Tensor y = upsample_concat(in.x, in.skip);
    EXPECT_TRUE(y.is_contiguous(kChannelsLast));
    const Tensor x64 = in.x.detach().to(at::kDouble).requires_grad_();
    const Tensor skip64 = in.skip.detach().to(at::kDouble).requires_grad_();
    const Tensor y64 = upsample_concat_composed(x64, skip64);
    EXPECT_TRUE(torch::allclose(y.to(at::kDouble), y64, 1e-6, 1e-6));
    const auto actual = torch::autograd::grad({y}, {in.x, in.skip}, {in.dy});
    const auto expected = torch::autograd::grad({y64}, {x64, skip64}, {in.dy.to(at::kDouble)});
    EXPECT_TRUE(actual[0].is_contiguous(kChannelsLast));
    for (size_t i = 0; i < 2; ++i)
      EXPECT_TRUE(torch::allclose(actual[i].to(at::kDouble), expected[i], 1e-5, 1e-5)) << i;
  }
}

TEST(UpsampleConcat, RowByHand) {
  // Two pixels, 0 and 4, and the eight channels alike: the border counts on.
  const Tensor x = torch::tensor({0.0F, 4.0F}).view({1, 1, 1, 2}).repeat({1, 8, 1, 1});
  const Tensor skip = torch::full({1, 1, 2, 4}, 7.0F);
  const Tensor y = upsample_concat(x, skip);
  const std::vector<float> row{0, 1, 3, 4};
  for (int64_t c = 0; c < 8; ++c)
    for (int64_t at = 0; at < 8; ++at)
      EXPECT_EQ(y[0][c][at / 4][at % 4].item<float>(), row[at % 4]);
  EXPECT_TRUE(torch::equal(y.narrow(1, 8, 1), skip));
}

TEST(UpsampleConcat, InBfloat16RoundsOnceFromFloat32) {
  for (const auto& k : kCases) {
    const Inputs in = make_inputs(k);
    const Tensor x = in.x.detach().to(at::kBFloat16), skip = in.skip.detach().to(at::kBFloat16);
    const Tensor low = x.clone().requires_grad_(), full = x.to(at::kFloat).requires_grad_();
    const Tensor y = upsample_concat(low, skip);
    const Tensor y32 = upsample_concat(full, skip.to(at::kFloat));
    EXPECT_TRUE(torch::equal(y, y32.to(at::kBFloat16)));
    const Tensor dy = in.dy.to(at::kBFloat16);
    const Tensor dx = torch::autograd::grad({y}, {low}, {dy})[0];
    const Tensor dx32 = torch::autograd::grad({y32}, {full}, {dy.to(at::kFloat)})[0];
    EXPECT_TRUE(torch::equal(dx, dx32.to(at::kBFloat16)));
  }
}

TEST(UpsampleConcat, HasSecondDerivatives) {
  const Inputs in = make_inputs(kCases[0]);
  const auto penalty = [&](const Tensor& x, const Tensor& y) {
    const Tensor slope = torch::autograd::grad({y.square().sum()}, {x}, {}, /*retain_graph=*/true,
                                               /*create_graph=*/true)[0];
    return torch::autograd::grad({slope.square().sum()}, {x})[0];
  };
  const Tensor fused = penalty(in.x, upsample_concat(in.x, in.skip));
  const Tensor composed = penalty(in.x, upsample_concat_composed(in.x, in.skip));
  EXPECT_TRUE(torch::allclose(fused, composed, 1e-4, 1e-4));
}

TEST(UpsampleConcat, DoesNotDependOnTheNumberOfThreads) {
  const int threads = at::get_num_threads();
  for (const auto& k : kCases) {
    const Inputs in = make_inputs(k);
    const auto run = [&](int count) {
      at::set_num_threads(count);
      const Tensor y = upsample_concat(in.x, in.skip);
      auto results = torch::autograd::grad({y}, {in.x, in.skip}, {in.dy});
      results.push_back(y);
      return results;
    };
    const auto one = run(1), three = run(3);
    at::set_num_threads(threads);
    for (size_t i = 0; i < one.size(); ++i) EXPECT_TRUE(torch::equal(one[i], three[i]));
  }
}

TEST(UpsampleConcat, ComposedGradientsAreRight) {
  torch::manual_seed(3);
  const auto options = torch::TensorOptions(at::kDouble).requires_grad(true);
  expect_gradients(
      [](const std::vector<Tensor>& in) { return upsample_concat_composed(in[0], in[1]); },
      {torch::randn({2, 3, 3, 2}, options), torch::randn({2, 2, 6, 4}, options)});
}

TEST(UpsampleConcat, RefusesASkipOfAnotherSize) {
  EXPECT_THROW(upsample_concat(torch::rand({1, 8, 4, 4}), torch::rand({1, 8, 8, 7})), c10::Error);
  EXPECT_THROW(upsample_concat(torch::rand({1, 8, 4, 4}), torch::rand({2, 8, 8, 8})), c10::Error);
}

}  // namespace
}  // namespace flipside::upsample_concat_test
