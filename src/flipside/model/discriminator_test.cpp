#include "flipside/model/discriminator.h"

#include <gtest/gtest.h>

#include <cmath>

#include "flipside/core/error.h"
#include "support/gradcheck.h"

namespace flipside::discriminator_test {
namespace {

ModelConfig small_config() {
  ModelConfig config;
  config.discriminator_widths = {8, 16, 24};
  return config;
}

TEST(Discriminator, GivesItsShapes) {
  torch::manual_seed(1);
  for (const int64_t outputs : {2, 3, 6}) {
    Discriminator discriminator(small_config(), outputs);
    const Tensor x = torch::rand({2, 3, 16, 24});
    EXPECT_EQ(discriminator(x).sizes(), (std::vector<int64_t>{2, outputs}));
    EXPECT_EQ(discriminator->features(x).sizes(), (std::vector<int64_t>{2, 48}));
  }
  Discriminator discriminator(small_config(), 3);
  EXPECT_THROW(discriminator(torch::rand({2, 3, 18, 16})), Error);
  EXPECT_THROW(discriminator(torch::rand({2, 1, 16, 16})), Error);
}

TEST(Discriminator, GradientsAreRightForWeightsAndInput) {
  torch::manual_seed(2);
  Discriminator discriminator(small_config(), 3);
  discriminator->to(torch::kDouble);
  std::vector<Tensor> inputs = discriminator->parameters();
  inputs.push_back(torch::rand({2, 3, 8, 8}, torch::kDouble).requires_grad_());
  expect_gradients([&](const std::vector<Tensor>& in) { return discriminator(in.back()); }, inputs,
                   1e-5, 6, 1e-6);
}

TEST(Discriminator, EveryPixelHasAGradient) {
  torch::manual_seed(3);
  Discriminator discriminator(small_config(), 3);
  for (auto& parameter : discriminator->parameters()) parameter.requires_grad_(false);
  const Tensor x = torch::rand({2, 3, 16, 16}).requires_grad_();
  const Tensor gradient = torch::autograd::grad({discriminator(x).select(1, 2).sum()}, {x})[0];
  EXPECT_EQ((gradient == 0).sum().item<int64_t>(), 0);
}

TEST(Discriminator, HasTheParametersOfItsRecipe) {
  int64_t count = 0;
  for (const auto& parameter : Discriminator(ModelConfig{}, 3)->parameters())
    count += parameter.numel();
  const auto block = [](int64_t in, int64_t out, int64_t kernel) {
    return in * out * kernel * kernel + 2 * out;
  };
  EXPECT_EQ(count, 3 * 24 * 9 + 24 + block(24, 48, 4) + block(48, 96, 4) + block(96, 128, 4) +
                       block(128, 128, 3) + 256 * 3 + 3);
}

TEST(Discriminator, ProbabilitiesByHand) {
  // exp: 1, 3, 4 of the two classes and of "fake".
  const Tensor logits = torch::tensor({{0.0, std::log(3.0), std::log(4.0)}});
  EXPECT_TRUE(torch::allclose(class_probs(logits, 2), torch::tensor({{0.25, 0.75}})));
  EXPECT_NEAR(fakeness(logits, FakeHead::kSoftmax).item<double>(), 0.5, 1e-6);
  EXPECT_NEAR(fakeness(logits, FakeHead::kFactorised).item<double>(), 0.8, 1e-6);
  EXPECT_EQ(fakeness(logits, FakeHead::kSoftmax).sizes(), (std::vector<int64_t>{1}));
}

}  // namespace
}  // namespace flipside::discriminator_test
