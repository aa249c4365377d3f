#include <gtest/gtest.h>

#include "flipside/core/error.h"
#include "flipside/explain/attribution/occlusion.h"
#include "flipside/explain/attribution/rise.h"
#include "support/linear_scorer.h"
#include "support/temp_folder.h"

namespace flipside::perturbation_test {
namespace {

constexpr int64_t kImages = 2, kSide = 8;

TEST(Occlusion, OfALinearScoreIsWhatTheHiddenPixelsContribute) {
  const Tensor images = random_images(kImages, kSide), weights = random_weights(kImages, kSide);
  const Tensor baseline = baseline_images(images, Baseline::kMean);
  const Tensor parts = (weights * (images - baseline)).sum(/*dim=*/1, /*keepdim=*/true);
  EXPECT_TRUE(torch::allclose(occlusion(linear_scorer(weights), images, baseline, 1, 1), parts,
                              1e-3, 1e-4));

  // Squares of 3 in steps of 2: at 0, 2, 4 and, to end at the border, 5.
  Tensor sums = torch::zeros_like(parts), counts = torch::zeros_like(parts);
  for (const int64_t y : {0, 2, 4, 5})
    for (const int64_t x : {0, 2, 4, 5})
      for (int64_t n = 0; n < kImages; ++n) {
        double drop = 0;
        for (int64_t i = y; i < y + 3; ++i)
          for (int64_t j = x; j < x + 3; ++j) drop += parts[n][0][i][j].item<double>();
        for (int64_t i = y; i < y + 3; ++i)
          for (int64_t j = x; j < x + 3; ++j) {
            sums[n][0][i][j] += drop;
            counts[n][0][i][j] += 1;
          }
      }
  EXPECT_TRUE(torch::allclose(occlusion(linear_scorer(weights), images, baseline, 3, 2),
                              sums / counts, 1e-3, 1e-4));
}

TEST(Occlusion, RefusesWindowsThatDoNotFit) {
  const Tensor images = random_images(kImages, kSide);
  for (const auto& [window, stride] : std::vector<std::pair<int, int>>{{9, 1}, {2, 3}, {2, 0}})
    EXPECT_NE(message_of(ErrorCode::kArgument,
                         [&, w = window, s = stride] {
                           occlusion(linear_scorer(images), images, images, w, s);
                         }),
              "");
}

TEST(RiseMask, IsAShiftedGridOfTheStatedDensity) {
  RiseOptions options;
  options.cells = 4;
  double sum = 0, least = 1, most = 0;
  for (int64_t k = 0; k < 400; ++k) {
    const Tensor mask = rise_mask(k, 16, 24, options);
    ASSERT_EQ(mask.sizes(), (std::vector<int64_t>{1, 1, 16, 24}));
    sum += mask.mean().item<double>();
    least = std::min(least, mask.min().item<double>());
    most = std::max(most, mask.max().item<double>());
  }
  EXPECT_NEAR(sum / 400, 0.5, 0.03);
  EXPECT_EQ(least, 0);
  EXPECT_NEAR(most, 1, 1e-6);
  EXPECT_TRUE(torch::equal(rise_mask(3, 16, 24, options), rise_mask(3, 16, 24, options)));
  EXPECT_FALSE(torch::equal(rise_mask(3, 16, 24, options), rise_mask(4, 16, 24, options)));
}

TEST(Rise, AgreesWithASlowLoop) {
  const Tensor images = random_images(kImages, kSide), weights = random_weights(kImages, kSide);
  const Tensor baseline = baseline_images(images, Baseline::kMean);
  const Scorer score = linear_scorer(weights);
  RiseOptions options;
  options.masks = 12;
  options.cells = 3;
  std::vector<Tensor> masks, scores;
  for (int64_t k = 0; k < options.masks; ++k) {
    masks.push_back(rise_mask(k, kSide, kSide, options));
    scores.push_back(score(masks[k] * images + (1 - masks[k]) * baseline));
  }
  const Tensor mean = torch::stack(scores).mean(0);
  const Tensor maps = rise(score, images, baseline, options);
  for (int64_t n = 0; n < kImages; ++n)
    for (int64_t y = 0; y < kSide; ++y)
      for (int64_t x = 0; x < kSide; ++x) {
        double sum = 0, weight = 0;
        for (int64_t k = 0; k < options.masks; ++k) {
          const double kept = masks[k][0][0][y][x].item<double>();
          sum += kept * (scores[k][n] - mean[n]).item<double>();
          weight += kept;
        }
        EXPECT_NEAR(maps[n][0][y][x].item<double>(), sum / weight, 1e-3);
      }
}

TEST(Rise, OfALinearScoreConvergesToItsExpectation) {
  // With f = <w, x> the map tends to sum over q of w_q x_q Cov(M_q, M_p) / E[M_p]; the moments of
  // the masks are taken from others of another seed.
  const Tensor images = random_images(kImages, kSide), weights = random_weights(kImages, kSide);
  RiseOptions options;
  options.cells = 4;
  options.seed = 99;
  constexpr int64_t kDraws = 6000;
  Tensor drawn = torch::empty({kDraws, kSide * kSide});
  for (int64_t k = 0; k < kDraws; ++k)
    drawn[k].copy_(rise_mask(k, kSide, kSide, options).flatten());
  const Tensor mean = drawn.mean(0);
  const Tensor covariance = (drawn - mean).t().mm(drawn - mean) / kDraws;
  const Tensor parts = (weights * images).sum(1).view({kImages, -1});
  const Tensor expected = (parts.mm(covariance) / mean).view({kImages, 1, kSide, kSide});

  options.seed = 1;
  const auto error = [&](int64_t masks) {
    options.masks = masks;
    const Tensor maps = rise(linear_scorer(weights), images, torch::zeros_like(images), options);
    return ((maps - expected).norm() / expected.norm()).item<double>();
  };
  const double few = error(60), many = error(6000);
  EXPECT_LT(many, 0.15);
  EXPECT_LT(many, few / 3);
}

TEST(Rise, RefusesOptionsOutOfRange) {
  const Tensor images = random_images(kImages, kSide);
  for (RiseOptions options : {RiseOptions{0}, RiseOptions{5, 0}, RiseOptions{5, 3, 1.0}})
    EXPECT_NE(message_of(ErrorCode::kArgument,
                         [&] { rise(linear_scorer(images), images, images, options); }),
              "");
}

}  // namespace
}  // namespace flipside::perturbation_test
