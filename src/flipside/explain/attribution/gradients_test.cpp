#include "flipside/explain/attribution/gradients.h"

#include <gtest/gtest.h>

#include "flipside/core/error.h"
#include "support/linear_scorer.h"
#include "support/small_model.h"
#include "support/temp_folder.h"

namespace flipside::gradients_test {
namespace {

constexpr int64_t kImages = 3, kSide = 8;

TEST(Gradients, OfALinearScoreAreItsWeights) {
  const Tensor images = random_images(kImages, kSide), weights = random_weights(kImages, kSide);
  EXPECT_TRUE(torch::allclose(score_gradient(linear_scorer(weights), images), weights));
  EXPECT_TRUE(torch::allclose(input_x_gradient(linear_scorer(weights), images), weights * images));
  EXPECT_TRUE(
      torch::allclose(smooth_grad(linear_scorer(weights), images, 0.3, 5, 1), weights, 1e-5));
  const Tensor baseline = torch::full_like(images, 0.25);
  EXPECT_TRUE(torch::allclose(integrated_gradients(linear_scorer(weights), images, baseline, 1),
                              weights * (images - baseline), 1e-5, 1e-6));
}

TEST(Gradients, DoNotNeedGradientsToBeOn) {
  const torch::NoGradGuard no_grad;
  EXPECT_TRUE(torch::allclose(
      score_gradient(linear_scorer(random_weights(kImages, kSide)), random_images(kImages, kSide)),
      random_weights(kImages, kSide)));
}

TEST(IntegratedGradients, OfASquareAreKnown) {
  // Of sum(x^2) from 0 to x: x^2 per pixel; the midpoint rule is exact for a linear gradient.
  const Tensor images = random_images(kImages, kSide);
  const auto square = [](const Tensor& x) { return x.pow(2).sum({1, 2, 3}); };
  const Tensor maps = integrated_gradients(square, images, torch::zeros_like(images), 4);
  EXPECT_TRUE(torch::allclose(maps, images.pow(2), 1e-5, 1e-6));
}

TEST(IntegratedGradients, AreComplete) {
  Model model = lively_model({"bad", "good"}, 1);
  torch::manual_seed(5);
  const Tensor images = torch::rand({4, 3, 16, 16});
  const Tensor classes = torch::tensor(std::vector<int64_t>{0, 1, 0, 1});
  const Scorer score = class_score(model.discriminator, classes);
  for (const Baseline kind : {Baseline::kBlack, Baseline::kMean}) {
    const Tensor baseline = baseline_images(images, kind);
    const Tensor sums = integrated_gradients(score, images, baseline, 400).sum({1, 2, 3});
    const Tensor rise = (score(images) - score(baseline)).detach();
    EXPECT_TRUE(torch::allclose(sums, rise, 0.02, 0.02)) << sums << rise;
  }
}

TEST(SmoothGrad, OfASquareIsTheGradientAtTheMeanOfTheCopies) {
  // The gradient 2x is linear: the mean over noisy copies is 2 (x + mean noise), and the noise of
  // many copies cancels.
  const Tensor images = random_images(kImages, kSide);
  const auto square = [](const Tensor& x) { return x.pow(2).sum({1, 2, 3}); };
  const Tensor few = smooth_grad(square, images, 0.2, 1, 7);
  const Tensor many = smooth_grad(square, images, 0.2, 400, 7);
  EXPECT_NEAR((few - 2 * images).std().item<double>(), 2 * 0.2, 0.1);  // the range is about 1
  EXPECT_LT((many - 2 * images).abs().max().item<double>(), 2 * 0.2 * 4.5 / 20);
}

TEST(SmoothGrad, DependsOnSeedAndImageNotOnTheBatch) {
  const auto cube = [](const Tensor& x) { return x.pow(3).sum({1, 2, 3}); };
  const Tensor images = random_images(kImages, kSide);
  const Tensor maps = smooth_grad(cube, images, 0.2, 3, 7);
  EXPECT_TRUE(torch::equal(maps, smooth_grad(cube, images, 0.2, 3, 7)));
  EXPECT_TRUE(
      torch::allclose(maps.slice(0, 1, 2), smooth_grad(cube, images.slice(0, 1, 2), 0.2, 3, 7)));
  EXPECT_FALSE(torch::allclose(maps, smooth_grad(cube, images, 0.2, 3, 8)));
}

TEST(Gradients, RefuseNoSteps) {
  const Tensor images = random_images(kImages, kSide);
  const Scorer score = linear_scorer(images);
  EXPECT_NE(
      message_of(ErrorCode::kArgument, [&] { integrated_gradients(score, images, images, 0); }),
      "");
  EXPECT_NE(message_of(ErrorCode::kArgument, [&] { smooth_grad(score, images, 0.1, 0, 1); }), "");
}

}  // namespace
}  // namespace flipside::gradients_test
