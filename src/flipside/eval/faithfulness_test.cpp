#include "flipside/eval/faithfulness.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "flipside/core/error.h"
#include "flipside/eval/class_maps.h"
#include "support/small_model.h"

namespace flipside::faithfulness_test {
namespace {

constexpr int64_t kImages = 24, kSide = 5, kPixels = kSide * kSide;

/// Class 1 (the target) where the weighted sum of the pixels is large.
Tensor probabilities(const Tensor& images) {
  torch::manual_seed(2);
  const Tensor weights = torch::randn({1, 3, kSide, kSide});
  const Tensor logit = (weights * (images - 0.5)).sum({1, 2, 3});
  return torch::stack({torch::sigmoid(-logit), torch::sigmoid(logit)}, /*dim=*/1);
}

FaithfulnessMeter::Cases random_cases() {
  torch::manual_seed(1);
  const std::vector<int64_t> shape{kImages, 1, kSide, kSide};
  return {torch::rand({kImages, 3, kSide, kSide}),        torch::rand({kImages, 3, kSide, kSide}),
          torch::rand(shape).mul(8).floor().div(8),  // with equal values
          (torch::rand(shape) > 0.9).to(torch::kFloat32), torch::zeros({kImages}, torch::kInt64),
          torch::ones({kImages}, torch::kInt64)};
}

TEST(Faithfulness, AgreesWithASlowLoopOverImagesAndPixels) {
  const auto cases = random_cases();
  constexpr int64_t kSteps = 7;  // does not divide the number of pixels
  const auto p_target = [](const Tensor& image) {
    return probabilities(image.unsqueeze(0))[0][1].item<double>();
  };
  const auto widened = [](const Tensor& mask) {  // [1,H,W]
    Tensor wide = torch::zeros_like(mask);
    for (int64_t y = 0; y < kSide; ++y)
      for (int64_t x = 0; x < kSide; ++x)
        for (int64_t v = 0; v < kSide; ++v)
          for (int64_t u = 0; u < kSide; ++u)
            if (std::abs(y - v) <= kMaskMargin && std::abs(x - u) <= kMaskMargin &&
                mask[0][v][u].item<float>() > 0)
              wide[0][y][x] = 1;
    return wide;
  };
  int64_t counted = 0, deleted = 0, deleted_wide = 0, flipped = 0, inserted = 0;
  double cout_sum = 0;
  for (int64_t n = 0; n < kImages; ++n) {
    const Tensor x = cases.images[n], other = cases.counterfactuals[n];
    std::vector<int64_t> order(kPixels);
    std::iota(order.begin(), order.end(), 0);
    const Tensor saliency = cases.saliency[n].flatten();
    std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
      return saliency[a].item<float>() > saliency[b].item<float>();
    });
    // COUT: the mean over the steps of the mean of their two ends, of p(target) - p(label).
    std::vector<double> curve;
    for (int64_t step = 0; step <= kSteps; ++step) {
      Tensor mixed = x.clone();
      const auto taken =
          static_cast<int64_t>(std::floor(static_cast<double>(kPixels * step) / kSteps + 0.5));
      for (int64_t i = 0; i < taken; ++i) {
        const int64_t row = order[i] / kSide, column = order[i] % kSide;
        for (int64_t c = 0; c < 3; ++c) mixed[c][row][column] = other[c][row][column];
      }
      curve.push_back(2 * p_target(mixed) - 1);
    }
    for (int64_t step = 0; step < kSteps; ++step)
      cout_sum += 0.5 * (curve[step] + curve[step + 1]) / kSteps;

    const Tensor mask = cases.masks[n];
    const bool before = p_target(x) > 0.5, after = p_target(other) > 0.5;
    if (before) continue;
    ++counted;
    deleted += p_target(mask * other + (1 - mask) * x) > 0.5;
    const Tensor wide = widened(mask);
    deleted_wide += p_target(wide * other + (1 - wide) * x) > 0.5;
    if (!after) continue;
    ++flipped;
    inserted += p_target(mask * x + (1 - mask) * other) < 0.5;
  }
  FaithfulnessMeter meter(probabilities, kSteps);
  meter.add(cases);
  const FaithfulnessScores scores = meter.scores();
  ASSERT_GT(flipped, 0);
  ASSERT_LT(flipped, counted);
  EXPECT_EQ(scores.images, counted);
  EXPECT_EQ(scores.flipped, flipped);
  EXPECT_EQ(scores.cout_images, kImages);
  EXPECT_DOUBLE_EQ(scores.deletion, static_cast<double>(deleted) / counted);
  EXPECT_DOUBLE_EQ(scores.deletion_wide, static_cast<double>(deleted_wide) / counted);
  ASSERT_NE(deleted_wide, deleted);
  EXPECT_DOUBLE_EQ(scores.insertion, static_cast<double>(inserted) / flipped);
  EXPECT_NEAR(scores.cout, cout_sum / kImages, 1e-5);
}

TEST(Faithfulness, BatchesAddUpAndNothingIsUndefined) {
  const auto cases = random_cases();
  FaithfulnessMeter whole(probabilities), parts(probabilities);
  EXPECT_TRUE(std::isnan(whole.scores().deletion));
  EXPECT_TRUE(std::isnan(whole.scores().cout));
  whole.add(cases);
  for (int64_t n = 0; n < kImages; n += 2) {
    const auto some = [&](const Tensor& t) { return t.narrow(0, n, 2); };
    parts.add({some(cases.images), some(cases.counterfactuals), some(cases.saliency),
               some(cases.masks), some(cases.labels), some(cases.targets)});
  }
  EXPECT_EQ(parts.scores().images, whole.scores().images);
  EXPECT_DOUBLE_EQ(parts.scores().deletion, whole.scores().deletion);
  EXPECT_NEAR(parts.scores().cout, whole.scores().cout, 1e-6);
}

TEST(Faithfulness, RewardsTheOrderThatMattersFirst) {
  // One pixel decides: found first, p(target) is high all the way; found last, low all the way.
  auto cases = random_cases();
  cases.images = torch::zeros({1, 3, kSide, kSide});
  cases.counterfactuals = torch::ones({1, 3, kSide, kSide});
  cases.labels = torch::zeros({1}, torch::kInt64);
  cases.targets = torch::ones({1}, torch::kInt64);
  cases.saliency = torch::zeros({1, 1, kSide, kSide});
  const auto decided_by_one = [](const Tensor& images) {
    const Tensor p = images.select(1, 0).select(1, 2).select(1, 3);
    return torch::stack({1 - p, p}, /*dim=*/1);
  };
  const auto cout_of = [&](double saliency_there) {
    cases.saliency[0][0][2][3] = saliency_there;
    cases.masks = (cases.saliency > 0).to(torch::kFloat32);
    FaithfulnessMeter meter(decided_by_one, kPixels);
    meter.add(cases);
    return meter.scores();
  };
  const auto first = cout_of(1.0), last = cout_of(-1.0);
  EXPECT_EQ(first.deletion, 1);
  EXPECT_EQ(first.insertion, 1);
  EXPECT_EQ(last.deletion, 0);
  EXPECT_EQ(last.insertion, 0);
  EXPECT_NEAR(first.cout, 1 - 1.0 / kPixels, 1e-6);
  EXPECT_NEAR(last.cout, -1 + 1.0 / kPixels, 1e-6);
}

TEST(RankCorrelation, OfKnownOrders) {
  const Tensor a = torch::tensor({1.0, 2.0, 3.0, 4.0}).view({1, 2, 2});
  EXPECT_DOUBLE_EQ(rank_correlation(a, a.pow(3)), 1);
  EXPECT_DOUBLE_EQ(rank_correlation(a, -a), -1);
  EXPECT_DOUBLE_EQ(rank_correlation(a, torch::ones({1, 2, 2})), 0);
  EXPECT_THROW(rank_correlation(a, torch::full({1, 2, 2}, std::nan(""))), Error);
  // Ranks 1 2 3 4 and 1 2.5 2.5 4: 4.5 / sqrt(5 * 4.5).
  const Tensor tied = torch::tensor({0.0, 7.0, 7.0, 9.0}).view({1, 2, 2});
  EXPECT_NEAR(rank_correlation(a, tied), 4.5 / std::sqrt(5 * 4.5), 1e-12);
}

TEST(RandomisationTest, RedrawsFromTheOutputDownAndLeavesTheModelAlone) {
  const Model model = lively_model({"bad", "good"}, 1);
  torch::manual_seed(5);
  const Tensor images = torch::rand({3, 3, 16, 16});
  const Tensor labels = torch::zeros({3}, torch::kInt64);
  const auto map = [&](AttributionMethod method) {
    return [&, method](const Model& any) {
      return class_maps(method, any, images, labels, {}).absolute;
    };
  };
  const Tensor before = map(AttributionMethod::kCounterfactual)(model);
  const auto names = [](const std::vector<RandomisedLayer>& layers) {
    std::vector<std::string> result;
    for (const auto& layer : layers) result.push_back(layer.layer);
    return result;
  };
  const auto by_gradient =
      randomisation_test(model, /*of_generator=*/false, map(AttributionMethod::kInputXGradient));
  EXPECT_EQ(names(by_gradient), (std::vector<std::string>{"head", "last", "down1", "stem"}));
  EXPECT_LT(by_gradient.back().correlation, 0.9);
  const auto by_generator =
      randomisation_test(model, /*of_generator=*/true, map(AttributionMethod::kCounterfactual));
  EXPECT_EQ(names(by_generator),
            (std::vector<std::string>{"decoder.output", "decoder.up0", "decoder.entry",
                                      "encoder.residual0", "encoder.down1", "encoder.stem"}));
  // A map that asks no network never changes.
  for (const auto& layer : randomisation_test(model, false, map(AttributionMethod::kDarkness)))
    EXPECT_DOUBLE_EQ(layer.correlation, 1);
  EXPECT_TRUE(torch::equal(map(AttributionMethod::kCounterfactual)(model), before));
}

}  // namespace
}  // namespace flipside::faithfulness_test
