#include "flipside/explain/tiling.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "flipside/data/image_io.h"
#include "support/small_model.h"
#include "support/temp_folder.h"

namespace flipside::tiling_test {
namespace {

constexpr int kSide = 16;  // training size of the small models

cv::Mat pattern(cv::Size size, int seed) {
  cv::Mat image(size, CV_8UC3);
  cv::RNG rng(seed);
  rng.fill(image, cv::RNG::UNIFORM, 40, 215);
  return image;
}

Explainer lively_explainer() {
  Model model = lively_model({"crack", "intact"}, 1);
  model.thresholds.label_free = 0.1;
  return Explainer(model);
}

/// All windows of the image through the networks in one batch, towards the reference class.
Explanation explain_all(const Explainer& explainer, const cv::Mat& image, const TileGrid& grid) {
  std::vector<Tensor> windows;
  for (const auto& tile : grid.tiles()) windows.push_back(to_tensor(image(tile)));
  return explainer.explain(torch::stack(windows),
                           torch::full({static_cast<int64_t>(windows.size())}, 1, torch::kInt64));
}

double largest_difference(const cv::Mat& a, const cv::Mat& b) {
  EXPECT_EQ(a.size(), b.size());
  return cv::norm(a, b, cv::NORM_INF);
}

TEST(TileGrid, CoversEveryPixelWithWeightsThatSumToOne) {
  for (const cv::Size size : {cv::Size(16, 16), cv::Size(17, 16), cv::Size(40, 23),
                              cv::Size(200, 16), cv::Size(33, 64), cv::Size(31, 90)})
    for (int overlap : {0, 1, 4, 8}) {
      const TileGrid grid(size, kSide, overlap);
      cv::Mat sum = cv::Mat::zeros(size, CV_32FC1);
      for (size_t i = 0; i < grid.tiles().size(); ++i) {
        const cv::Rect tile = grid.tiles()[i];
        ASSERT_EQ(tile & cv::Rect({0, 0}, size), tile) << "a window leaves the image";
        const auto weights = grid.weights(i);
        ASSERT_EQ(weights.size(), static_cast<size_t>(kSide * kSide));
        for (int p = 0; p < kSide * kSide; ++p) {
          ASSERT_GT(weights[p], 0);
          ASSERT_LE(weights[p], 1);
          sum.at<float>(tile.y + p / kSide, tile.x + p % kSide) += weights[p];
        }
        if (i > 0 && tile.y == grid.tiles()[i - 1].y) {
          EXPECT_GE(grid.tiles()[i - 1].br().x - tile.x, overlap);
        }
      }
      double low = 0, high = 0;
      cv::minMaxLoc(sum, &low, &high);
      EXPECT_NEAR(low, 1, 1e-5);
      EXPECT_NEAR(high, 1, 1e-5);
    }
}

TEST(TileGrid, FallsOffSmoothlyAndNotAtTheImagesBorder) {
  const TileGrid grid(cv::Size(28, 16), kSide, 4);
  ASSERT_EQ(grid.tiles().size(), 2u);
  const auto left = grid.weights(0), right = grid.weights(1);
  EXPECT_FLOAT_EQ(left[0], 1);
  EXPECT_FLOAT_EQ(right[15], 1);
  EXPECT_FLOAT_EQ(left[11], 1);
  for (int p = 12; p < 16; ++p) {
    EXPECT_LT(left[p], left[p - 1]);
    EXPECT_NEAR(left[p], std::pow(std::cos(M_PI / 2 * (p - 12 + 0.5) / 4), 2), 1e-6);
  }
}

TEST(TileGrid, RefusesWindowsThatDoNotFit) {
  for (const auto& [side, overlap] :
       std::vector<std::pair<int, int>>{{21, 4}, {0, 0}, {16, 9}, {16, -1}})
    EXPECT_NE(message_of(ErrorCode::kArgument,
                         [&, side = side, overlap = overlap] {
                           TileGrid({20, 30}, side, overlap);
                         }),
              "");
}

TEST(WindowScale, StretchesWhatIsAboutAsLargeAsTheTrainingImages) {
  Model model = small_model({"bad", "good"}, 1);
  model.native_sides = {64, 100};  // stretched to 16: a quarter
  const auto scale_of = [&](cv::Size size, Scaling scaling = {}) {
    return window_scale(model, size, scaling);
  };
  EXPECT_FALSE(scale_of({150, 90}).has_value());
  EXPECT_FALSE(scale_of({3, 3}).has_value());
  ASSERT_TRUE(scale_of({151, 90}).has_value());
  EXPECT_DOUBLE_EQ(*scale_of({90, 4000}), 0.25);
  EXPECT_FALSE(scale_of({4000, 3000}, {Scaling::Mode::kFit, 1}).has_value());
  EXPECT_DOUBLE_EQ(*scale_of({3, 3}, {Scaling::Mode::kScale, 2}), 2);
  model.native_sides = {};  // unknown: pixel for pixel, and the training size stands for the images
  EXPECT_FALSE(scale_of({24, 24}).has_value());
  EXPECT_DOUBLE_EQ(*scale_of({25, 24}), 1);
  for (double factor : {0.0, -1.0, std::nan(""), 1e9})
    EXPECT_NE(message_of(ErrorCode::kArgument,
                         [&] {
                           scale_of({40, 40}, {Scaling::Mode::kScale, factor});
                         }),
              "");
}

TEST(ExplainInWindows, OneWindowIsTheWholeImage) {
  const Explainer explainer = lively_explainer();
  const cv::Mat image = pattern({kSide, kSide}, 5);
  const Explanation whole = explainer.explain(to_tensor(image).unsqueeze(0));
  const WindowedExplanation windowed = explain_in_windows(explainer, image, 1.0);
  ASSERT_EQ(windowed.windows.size(), 1u);
  EXPECT_TRUE(torch::allclose(windowed.verdict.probs, whole.probs, 1e-4, 1e-5));
  EXPECT_TRUE(torch::equal(windowed.verdict.target, whole.target));
  EXPECT_TRUE(torch::allclose(windowed.verdict.fakeness, whole.fakeness, 1e-4, 1e-5));
  EXPECT_TRUE(torch::allclose(windowed.verdict.counterfactual_probs, whole.counterfactual_probs,
                              1e-4, 1e-5));
  EXPECT_LE(largest_difference(windowed.counterfactual, to_image(whole.counterfactual[0])), 1);
  EXPECT_LT(largest_difference(windowed.saliency, to_float_map(whole.saliency[0])), 1e-5);
  EXPECT_DOUBLE_EQ(windowed.mask_options.min_area, explainer.mask_options().min_area);
}

TEST(ExplainInWindows, StreamedWindowsGiveWhatAllAtOnceGive) {
  const Explainer explainer = lively_explainer();
  const cv::Mat image = pattern({61, 37}, 6);
  const TileGrid grid(image.size(), kSide, kSide / 4);
  const Explanation all = explain_all(explainer, image, grid);
  cv::Mat change = cv::Mat::zeros(image.size(), CV_64FC3);
  cv::Mat saliency = cv::Mat::zeros(image.size(), CV_64FC1), evidence = saliency.clone();
  size_t worst = 0;
  double worst_rank = -1;
  for (size_t i = 0; i < grid.tiles().size(); ++i) {
    const auto row = static_cast<int64_t>(i);
    const auto weights = grid.weights(i);
    const Tensor difference = all.counterfactual[row] - to_tensor(image(grid.tiles()[i]));
    const bool is_defect = all.predicted[row].item<int64_t>() == 0;
    const double rank = (is_defect ? 1 : 0) + all.probs[row][0].item<double>();
    if (rank > worst_rank) worst = i;
    worst_rank = std::max(rank, worst_rank);
    for (int p = 0; p < kSide * kSide; ++p) {
      const int y = p / kSide, x = p % kSide;
      const cv::Point at = grid.tiles()[i].tl() + cv::Point(x, y);
      const double here = weights[p] * all.saliency[row][0][y][x].item<double>();
      saliency.at<double>(at) += here;
      if (is_defect) evidence.at<double>(at) += here;
      for (int c = 0; c < 3; ++c)
        change.at<cv::Vec3d>(at)[c] += weights[p] * difference[c][y][x].item<double>();
    }
  }
  cv::Mat expected, floats;
  image.convertTo(floats, CV_64F);
  cv::Mat(floats + 255 * change).convertTo(expected, CV_8U);
  saliency.convertTo(saliency, CV_32F);
  evidence.convertTo(evidence, CV_32F);
  for (int64_t batch : {1, 3, 1000}) {
    const WindowedExplanation streamed =
        explain_in_windows(explainer, image, 1.0, {0, batch, /*target=*/1});
    EXPECT_EQ(streamed.windows, grid.tiles());
    EXPECT_EQ(streamed.worst, worst);
    EXPECT_TRUE(torch::allclose(streamed.verdict.probs[0], all.probs[static_cast<int64_t>(worst)],
                                1e-4, 1e-5));
    // Batches of other sizes go through other kernels: equal up to float rounding.
    EXPECT_LT(largest_difference(streamed.saliency, saliency), 1e-4);
    EXPECT_LT(largest_difference(streamed.evidence, evidence), 1e-4);
    EXPECT_LE(largest_difference(streamed.counterfactual, expected), 1);
  }
}

TEST(ExplainInWindows, ChangesTheWorstWindowAloneTowardsADefect) {
  const Explainer explainer = lively_explainer();
  const cv::Mat image = pattern({50, 40}, 7);
  const WindowedExplanation e = explain_in_windows(explainer, image, 1.0, {0, 16, /*target=*/0});
  EXPECT_EQ(e.verdict.target.item<int64_t>(), 0);
  cv::Mat outside(image.size(), CV_8UC1, cv::Scalar(255));
  outside(e.windows.at(e.worst)) = 0;
  EXPECT_EQ(cv::norm(e.counterfactual, image, cv::NORM_INF, outside), 0);
  EXPECT_EQ(cv::norm(e.saliency, cv::NORM_INF, outside), 0);
  EXPECT_GT(cv::norm(e.saliency, cv::NORM_INF), 0.05);
}

TEST(ExplainInWindows, MarksNothingWhereNoWindowIsADefect) {
  const Explainer explainer = lively_explainer();
  const cv::Mat image = pattern({90, 70}, 8);
  const WindowedExplanation e = explain_in_windows(explainer, image, 1.0, {0, 16, /*target=*/1});
  cv::Mat near_defect = cv::Mat::zeros(image.size(), CV_8UC1);
  bool any = false;
  for (size_t i = 0; i < e.windows.size(); ++i)
    if (e.predicted[i] == 0) {
      near_defect(e.windows[i]) = 255;
      any = true;
    }
  EXPECT_EQ(cv::norm(e.evidence, cv::NORM_INF, near_defect == 0), 0);
  EXPECT_EQ(cv::countNonZero(e.evidence > e.saliency + 1e-6f), 0);
  EXPECT_EQ(any, e.verdict.predicted.item<int64_t>() == 0) << "the worst window decides";
}

TEST(ExplainInWindows, AveragesOverViewsWhereADefectIsPredicted) {
  Model model = lively_model({"crack", "intact"}, 1);
  model.config.explain.average_views = true;
  model.doubt_rule = DoubtRule{"views", 0.5, 0.9};
  const Explainer explainer(model);
  const cv::Mat image = pattern({61, 37}, 6);
  const WindowedExplanation e = explain_in_windows(explainer, image, 1.0, {0, 4, /*target=*/1});
  const TileGrid grid(image.size(), kSide, kSide / 4);
  const Explanation all = explain_all(explainer, image, grid);
  cv::Mat evidence = cv::Mat::zeros(image.size(), CV_32FC1);
  for (size_t i = 0; i < grid.tiles().size(); ++i) {
    const auto row = static_cast<int64_t>(i);
    if (all.predicted[row].item<int64_t>() != 0) continue;
    cv::Mat weights(kSide, kSide, CV_32FC1), part = evidence(grid.tiles()[i]);
    const auto values = grid.weights(i);
    std::copy(values.begin(), values.end(), weights.begin<float>());
    part += weights.mul(to_float_map(all.saliency[row]));
  }
  EXPECT_GT(cv::norm(evidence, cv::NORM_INF), 0.01);
  EXPECT_LT(largest_difference(e.evidence, evidence), 1e-4);
  EXPECT_NEAR(e.verdict.doubt.item<double>(),
              all.doubt[static_cast<int64_t>(e.worst)].item<double>(), 1e-4);
}

TEST(ExplainInWindows, AnImageWithoutDefectsHasADoubtToo) {
  Model model = lively_model({"crack", "intact"}, 1);
  {
    torch::NoGradGuard no_grad;
    model.discriminator->parameters().back().copy_(torch::tensor({-50.0f, 50.0f, 0.0f}));
  }
  model.doubt_rule = DoubtRule{"views", 0.5, 0.9};
  const WindowedExplanation e =
      explain_in_windows(Explainer(model), pattern({40, 30}, 3), 1.0, {0, 4, /*target=*/1});
  EXPECT_EQ(e.verdict.predicted.item<int64_t>(), 1);
  EXPECT_TRUE(std::isfinite(e.verdict.doubt.item<double>()));
  EXPECT_EQ(cv::norm(e.evidence, cv::NORM_INF), 0);
}

TEST(ExplainInWindows, TakesEverySize) {
  const Explainer explainer = lively_explainer();
  for (const cv::Size size : {cv::Size(1, 1), cv::Size(2, 3), cv::Size(7, 90), cv::Size(40, 15),
                              cv::Size(16, 17), cv::Size(4000, 64)}) {
    const WindowedExplanation e =
        explain_in_windows(explainer, pattern(size, 9), 1.0, {0, 256, /*target=*/1});
    for (const cv::Mat& map : {e.seen, e.counterfactual, e.saliency, e.evidence})
      EXPECT_EQ(map.size(), size);
    for (const auto& window : e.windows) EXPECT_EQ(window & cv::Rect({0, 0}, size), window);
    EXPECT_TRUE(cv::checkRange(e.saliency, true, nullptr, 0, 1.0001));
  }
  EXPECT_EQ(explain_in_windows(explainer, pattern({64, 40}, 9), 0.5).seen.size(), cv::Size(32, 20));
  EXPECT_EQ(explain_in_windows(explainer, pattern({9, 7}, 9), 3.0).seen.size(), cv::Size(27, 21));
  EXPECT_EQ(explain_in_windows(explainer, pattern({9, 7}, 9), 1e-4).seen.size(), cv::Size(1, 1));
}

TEST(ExplainInWindows, RefusesWindowsThatTheNetworksCannotTake) {
  const Explainer explainer = lively_explainer();
  EXPECT_NE(message_of(ErrorCode::kArgument,
                       [&] {
                         explain_in_windows(explainer, pattern({40, 40}, 1), 1.0, {17, 16, -1});
                       }),
            "");
  EXPECT_EQ(explain_in_windows(explainer, pattern({40, 40}, 1), 1.0, {40, 16, -1}).windows.size(),
            1u);
}

TEST(WindowedExplanation, NamesTheClassThatMostDefectWindowsSay) {
  WindowedExplanation e;
  e.verdict.predicted = torch::tensor(std::vector<int64_t>{0});
  e.windows = {{0, 0, 16, 16}, {12, 0, 16, 16}, {24, 0, 16, 16}};
  e.predicted = {2, 1, 0};  // class 1 is the reference
  EXPECT_EQ(e.class_of({10, 2, 8, 4}, 1), 2);
  EXPECT_EQ(e.class_of({14, 2, 13, 4}, 1), 0);  // 3x4 pixels against 2x4
  EXPECT_EQ(e.class_of({20, 2, 8, 4}, 1), 0);
  EXPECT_EQ(e.class_of({17, 2, 5, 4}, 1), 0) << "the image's, where no defect window reaches";
}

}  // namespace
}  // namespace flipside::tiling_test
