#include "flipside/report/validation.h"

#include <gtest/gtest.h>

#include <cmath>

namespace flipside::validation_test {
namespace {

Results measured(double false_marks) {
  Results results;
  results.accuracy = 0.7;
  results.balanced_accuracy = 0.8;
  results.flips = {{0, 1, 10, 0.5, 0, {}}, {1, 0, 10, 0.9, 0, {}}};
  results.false_marks = false_marks;
  return results;
}

double score(const Results& results) {
  return validation_scores(results, ModelKind::kCounterfactual).score;
}

TEST(ValidationScores, FlipsCountInFullWhereMasksShowDefects) {
  EXPECT_DOUBLE_EQ(score(measured(0)), (0.8 + 0.7) / 2);
  EXPECT_DOUBLE_EQ(score(measured(0.5)), (0.8 + 0.7) / 2);
}

TEST(ValidationScores, FlipsByMarkingWhateverIsSeenCountLess) {
  EXPECT_DOUBLE_EQ(score(measured(0.75)), (0.8 + 0.5 * 0.7) / 2);
  EXPECT_DOUBLE_EQ(score(measured(1)), 0.8 / 2);
  EXPECT_DOUBLE_EQ(score(measured(1.7)), 0.8 / 2);
  EXPECT_DOUBLE_EQ(score(measured(std::nan(""))), 0.8 / 2) << "nothing is marked at all";
}

TEST(ValidationScores, YardsticksHaveTheirOwn) {
  Results results = measured(0);
  EXPECT_DOUBLE_EQ(validation_scores(results, ModelKind::kClassifier).score, 0.8);
  EXPECT_DOUBLE_EQ(validation_scores(results, ModelKind::kSegmenter).score, 0);
  results.tuned = MaskScores();
  results.tuned->iou = 0.6;
  EXPECT_DOUBLE_EQ(validation_scores(results, ModelKind::kSegmenter).score, 0.6);
}

}  // namespace
}  // namespace flipside::validation_test
