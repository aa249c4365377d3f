#include "flipside/eval/image_scores.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "flipside/eval/model_folder.h"
#include "support/noise_data.h"
#include "support/small_model.h"

namespace flipside::image_scores_test {
namespace {

ImageScores scores_of_test_split(const Model& model, const ImageFolder& folder) {
  EvalLoader loader(folder, Split::kTest, model.config.data, /*batch=*/3);
  return score_images(model, loader);
}

TEST(ImageScores, AddUpToTheResultsOfTheEvaluation) {
  const TempFolder root;
  write_noise_data(root.path(), {"crack", "intact", "stain"}, 4);
  Model model = lively_model({"crack", "intact", "stain"}, 1);
  model.thresholds.label_free = 0.15;
  const ImageFolder folder = scan_for_model(root.path(), model);
  const Results results = evaluate(model, folder, {});
  const auto [scores, curve] = scores_of_test_split(model, folder);

  ASSERT_EQ(scores.size(), 16u);  // 4 reference images with two targets each
  double iou = 0, with_mask = 0;
  std::map<std::pair<int64_t, int64_t>, double> flipped;
  std::map<int64_t, bool> right;
  for (size_t i = 0; i < scores.size(); ++i) {
    const ImageScore& score = scores[i];
    if (i > 0) {
      EXPECT_GE(score.index, scores[i - 1].index);
    }
    EXPECT_EQ(score.label, folder.split(Split::kTest)[score.index].label);
    EXPECT_EQ(score.label == 1, score.target != 1);
    EXPECT_GE(score.probability, 1.0 / 3);
    EXPECT_TRUE(score.fakeness >= 0 && score.fakeness <= 1);
    EXPECT_EQ(score.flipped && score.target_probability < 1.0 / 3, false);
    flipped[{score.label, score.target}] += score.flipped;
    right[score.index] = score.predicted == score.label;
    if (std::isnan(score.iou)) continue;
    iou += score.iou;
    ++with_mask;
  }
  double correct = 0;
  for (const auto& [index, is_right] : right) correct += is_right;
  EXPECT_EQ(right.size(), 12u);
  EXPECT_DOUBLE_EQ(correct / 12, results.accuracy);
  for (const auto& flip : results.flips)
    EXPECT_DOUBLE_EQ((flipped[{flip.from, flip.to}] / 4), flip.by_discriminator);
  EXPECT_EQ(with_mask, 3);
  EXPECT_NEAR(iou / with_mask, results.label_free->mean_iou, 0.01);
  EXPECT_NEAR(curve.average_precision(), *results.pixel_average_precision, 1e-6);
}

TEST(ImageScores, HoldWhatAYardstickCanAnswer) {
  const TempFolder root;
  write_noise_data(root.path(), {"crack", "intact"}, 3);
  const Model classifier = small_model({"crack", "intact"}, 1, ModelKind::kClassifier);
  const ImageFolder folder = scan_for_model(root.path(), classifier);
  const ImageScores classes = scores_of_test_split(classifier, folder);
  ASSERT_EQ(classes.scores.size(), 6u);
  double correct = 0;
  for (const auto& score : classes.scores) {
    correct += score.predicted == score.label;
    EXPECT_EQ(score.target, -1);
    EXPECT_TRUE(std::isnan(score.iou));
  }
  EXPECT_DOUBLE_EQ(correct / 6, evaluate(classifier, folder, {}).accuracy);

  const Model segmenter = small_model({"crack", "intact"}, 1, ModelKind::kSegmenter);
  const ImageScores masks = scores_of_test_split(segmenter, folder);
  double iou = 0, with_mask = 0;
  for (const auto& score : masks.scores) {
    EXPECT_EQ(score.predicted, -1);
    if (std::isnan(score.iou)) continue;
    iou += score.iou;
    ++with_mask;
  }
  EXPECT_EQ(with_mask, 2);
  EXPECT_NEAR(iou / with_mask, evaluate(segmenter, folder, {}).fixed->mean_iou, 0.01);
}

TEST(Extremes, AgreeWithASlowLoop) {
  Rng rng(4);
  for (size_t n : {0, 1, 2, 5, 9, 30}) {
    std::vector<double> values(n);
    for (auto& value : values) value = rng.chance(0.2) ? std::nan("") : rng.below(8) / 8.0;
    std::vector<size_t> order;  // highest first, by looking for the next highest again and again
    for (std::vector<bool> taken(n); true;) {
      size_t next = n;
      for (size_t i = 0; i < n; ++i)
        if (!taken[i] && !std::isnan(values[i]) && (next == n || values[i] > values[next]))
          next = i;
      if (next == n) break;
      taken[next] = true;
      order.push_back(next);
    }
    const Extremes found = extremes(values, 3);
    const size_t best = std::min<size_t>(3, order.size());
    const size_t worst = std::min<size_t>(3, order.size() - best);
    ASSERT_EQ(found.best.size(), best);
    ASSERT_EQ(found.worst.size(), worst);
    for (size_t i = 0; i < best; ++i) EXPECT_EQ(found.best[i], order[i]);
    for (size_t i = 0; i < worst; ++i) EXPECT_EQ(found.worst[i], order[order.size() - 1 - i]);
    ASSERT_EQ(found.median.size(), std::min<size_t>(3, order.size() - best - worst));
    if (order.size() >= 9) {
      EXPECT_EQ(found.median[1], order[(order.size() - 1) / 2]);
    }
  }
}

}  // namespace
}  // namespace flipside::image_scores_test
