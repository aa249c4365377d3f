#include "flipside/eval/change.h"

#include <gtest/gtest.h>

#include <cmath>

#include "support/small_model.h"

namespace flipside::change_test {
namespace {

FeatureStatistics statistics(const Tensor& rows) {
  FeatureStatistics gathered;
  // In two parts: the sums must not depend on the batches.
  gathered.add(rows.slice(0, 0, rows.size(0) / 3));
  gathered.add(rows.slice(0, rows.size(0) / 3));
  return gathered;
}

TEST(FeatureStatistics, AgreesWithASlowLoop) {
  torch::manual_seed(1);
  const Tensor rows = torch::randn({7, 3}, torch::kFloat64);
  const FeatureStatistics gathered = statistics(rows);
  for (int64_t i = 0; i < 3; ++i)
    for (int64_t j = 0; j < 3; ++j) {
      double mean_i = 0, mean_j = 0, covariance = 0;
      for (int64_t n = 0; n < 7; ++n) {
        mean_i += rows[n][i].item<double>() / 7;
        mean_j += rows[n][j].item<double>() / 7;
      }
      for (int64_t n = 0; n < 7; ++n)
        covariance +=
            (rows[n][i].item<double>() - mean_i) * (rows[n][j].item<double>() - mean_j) / 6;
      EXPECT_NEAR(gathered.covariance()[i][j].item<double>(), covariance, 1e-12);
      EXPECT_NEAR(gathered.mean()[i].item<double>(), mean_i, 1e-12);
    }
}

TEST(Frechet, OneDimensionByHand) {
  // Means 0 and 3, deviations 1 and 2 (with n - 1): 9 + (1 - 2)^2 = 10.
  const double h = std::sqrt(0.5);
  const auto a = statistics(torch::tensor({{-h}, {h}}, torch::kFloat64));
  const auto b = statistics(torch::tensor({{3 - 2 * h}, {3 + 2 * h}}, torch::kFloat64));
  EXPECT_NEAR(frechet_distance(a, b), 10, 1e-9);
  EXPECT_NEAR(frechet_distance(b, a), 10, 1e-9);
}

TEST(Frechet, OfCovariancesThatDoNotCommute) {
  // C_a = diag(4, 1) exactly, C_b = the same turned by 45 degrees. For 2x2 matrices
  // tr((AB)^(1/2)) = sqrt(tr(AB) + 2 sqrt(det A det B)): tr(AB) = 12.5, det A det B = 16.
  const double s = std::sqrt(1.5);  // four points at +-s sqrt(lambda) on each axis: n - 1 = 3
  const Tensor points =
      torch::tensor({{2 * s, 0.0}, {-2 * s, 0.0}, {0.0, s}, {0.0, -s}}, torch::kFloat64);
  const double c = std::sqrt(0.5);
  const Tensor turn = torch::tensor({{c, c}, {-c, c}}, torch::kFloat64);
  const auto a = statistics(points), b = statistics(torch::matmul(points, turn));
  EXPECT_NEAR(frechet_distance(a, b), 10 - 2 * std::sqrt(12.5 + 8), 1e-9);
  EXPECT_NEAR(frechet_distance(a, a), 0, 1e-6);
}

TEST(Frechet, NeedsTwoVectorsOnEachSide) {
  const auto one = statistics(torch::zeros({1, 2})), many = statistics(torch::randn({9, 2}));
  EXPECT_TRUE(std::isnan(frechet_distance(one, many)));
  EXPECT_TRUE(std::isnan(frechet_distance(many, one)));
}

TEST(ChangeTable, ImagesThatStayAreComparedWithTheOtherHalf) {
  torch::manual_seed(4);
  const auto features = [](const Tensor& images) {
    return images.flatten(1).slice(/*dim=*/1, 0, 3);
  };
  const Explainer explainer(small_model({"crack", "intact"}, 1));
  ChangeTable table(explainer, features);
  const Tensor good = torch::rand({9, 3, 16, 16}), bad = torch::rand({9, 3, 16, 16});
  FeatureStatistics halves[2], even;
  for (int64_t i = 0; i < 9; ++i) {
    const Tensor row = features(good.slice(0, i, i + 1));
    halves[i % 2].add(row);
    if (i % 2 == 0) even.add(features(bad.slice(0, i, i + 1)));
  }
  const auto add = [&](const Tensor& images, int64_t label) {
    Explanation unchanged;
    unchanged.counterfactual = images;
    unchanged.saliency = torch::zeros({images.size(0), 1, 16, 16});
    unchanged.target = torch::ones({images.size(0)}, torch::kInt64);
    table.add(images, torch::full_like(unchanged.target, label), unchanged);
  };
  int64_t from = 0;
  for (const int64_t count : {3, 1, 2, 3}) {
    const Tensor part = good.slice(0, from, from + count);
    table.add_real(part, torch::ones({count}, torch::kInt64));
    add(part, 1);
    add(bad.slice(0, from, from + count), 0);
    from += count;
  }
  const double real = frechet_distance(halves[1], halves[0]);
  ASSERT_EQ(table.scores().size(), 2u);
  for (const auto& scores : table.scores()) {
    EXPECT_NEAR(*scores.frechet_real, real, 1e-9);
    EXPECT_NEAR(*scores.frechet,
                scores.from == scores.to ? real : frechet_distance(even, halves[0]), 1e-9);
  }
}

constexpr MaskOptions kPlain{/*threshold=*/0.5, /*min_area=*/0};

/// Change of all three channels by `amount` in the given columns of a 4 x 4 image.
Tensor stripe(int64_t column, double amount) {
  Tensor change = torch::zeros({1, 1, 4, 4});
  change.select(3, column).fill_(amount);
  return change;
}

void add(ChangeMeter& meter, const Tensor& change) {
  const Tensor images = torch::full({change.size(0), 3, 4, 4}, 0.1);
  meter.add(images, images + change, change);
}

TEST(ChangeMeter, CountsByHand) {
  ChangeMeter meter(kPlain);
  add(meter, stripe(0, 0.8));   // a quarter of the pixels: visible and marked
  add(meter, stripe(1, 0.2));   // visible only
  add(meter, stripe(1, 0.04));  // neither
  const ChangeScores scores = meter.scores();
  EXPECT_EQ(scores.images, 3);
  EXPECT_NEAR(scores.l1, (0.8 + 0.2 + 0.04) / 4 / 3, 1e-6);
  EXPECT_NEAR(scores.changed, 0.5 / 3, 1e-6);
  EXPECT_NEAR(scores.marked, 0.25 / 3, 1e-6);
}

TEST(ChangeMeter, TheSameStrokeEverywhereIsNoDiversity) {
  ChangeMeter same(kPlain), apart(kPlain), mixed(kPlain);
  for (double amount : {0.2, 0.5, 0.9}) add(same, stripe(2, amount));
  for (int64_t column : {0, 1, 3}) add(apart, stripe(column, 0.3));
  add(mixed, torch::cat({stripe(0, 0.3), stripe(0, 0.6), stripe(1, 0.3)}));
  EXPECT_NEAR(same.scores().diversity, 0, 1e-6);
  EXPECT_NEAR(apart.scores().diversity, 1, 1e-6);
  EXPECT_NEAR(mixed.scores().diversity, 2.0 / 3, 1e-6);  // one of three pairs is alike
}

TEST(FalseMarks, ComparesGoodImagesWithDefectsOfAllClasses) {
  const auto change = [](int64_t from, int64_t to, int64_t images, double marked) {
    ChangeScores scores;
    scores.from = from;
    scores.to = to;
    scores.images = images;
    scores.marked = marked;
    return scores;
  };
  // Reference class 1. Defects: (30 * .1 + 10 * .5) / 40 = .2; good images: .05.
  const std::vector<ChangeScores> changes{change(0, 1, 30, 0.1), change(2, 1, 10, 0.5),
                                          change(1, 0, 20, 0.9), change(1, 1, 20, 0.05)};
  EXPECT_NEAR(false_marks(changes, 1), 0.25, 1e-12);
  EXPECT_TRUE(std::isnan(false_marks({change(0, 1, 30, 0), change(1, 1, 20, 0.05)}, 1)));
  EXPECT_TRUE(std::isnan(false_marks({change(0, 1, 30, 0.1)}, 1)));
  EXPECT_EQ(false_marks({change(0, 1, 30, 0.1), change(1, 1, 20, 0)}, 1), 0);
}

TEST(ChangeMeter, DiversityLeavesOutImagesThatStay) {
  ChangeMeter meter(kPlain);
  add(meter, stripe(0, 0.3));
  add(meter, torch::zeros({1, 1, 4, 4}));
  EXPECT_TRUE(std::isnan(meter.scores().diversity));
  add(meter, stripe(0, 0.3));
  EXPECT_NEAR(meter.scores().diversity, 0, 1e-6);
}

}  // namespace
}  // namespace flipside::change_test
