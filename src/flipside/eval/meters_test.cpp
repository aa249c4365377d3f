#include "flipside/eval/meters.h"

#include <gtest/gtest.h>

#include <cmath>

#include "flipside/core/error.h"
#include "flipside/core/random.h"

namespace flipside::meters_test {
namespace {

Tensor integers(const std::vector<int64_t>& values) { return torch::tensor(values); }

Tensor random_mask(Rng& rng, int64_t images, int64_t side, double share) {
  Tensor mask = torch::zeros({images, 1, side, side});
  float* data = mask.data_ptr<float>();
  for (int64_t i = 0; i < mask.numel(); ++i) data[i] = rng.chance(share) ? 1.0f : 0.0f;
  return mask;
}

TEST(ConfusionMeter, CountsByHand) {
  ConfusionMeter meter(3);
  meter.add(integers({0, 0, 0, 1, 1}), integers({0, 0, 1, 1, 0}));
  meter.add(integers({1}), integers({1}));
  EXPECT_EQ(meter.counts(), (std::vector<std::vector<int64_t>>{{2, 1, 0}, {1, 2, 0}, {0, 0, 0}}));
  EXPECT_EQ(meter.total(), 6);
  EXPECT_DOUBLE_EQ(meter.accuracy(), 4.0 / 6);
  EXPECT_DOUBLE_EQ(meter.balanced_accuracy(), 2.0 / 3);  // class 2 does not occur
  EXPECT_DOUBLE_EQ(meter.precision(0), 2.0 / 3);
  EXPECT_DOUBLE_EQ(meter.recall(1), 2.0 / 3);
  EXPECT_DOUBLE_EQ(meter.f1(0), 2.0 / 3);
  EXPECT_DOUBLE_EQ(meter.macro_f1(), 2.0 / 3);
  EXPECT_TRUE(std::isnan(meter.f1(2)));
  meter.reset();
  EXPECT_EQ(meter.total(), 0);
  EXPECT_TRUE(std::isnan(meter.accuracy()));
}

TEST(ConfusionMeter, AgreesWithASlowLoop) {
  Rng rng(1);
  std::vector<int64_t> labels, predicted;
  for (int i = 0; i < 500; ++i) {
    labels.push_back(rng.below(4));
    predicted.push_back(rng.chance(0.6) ? labels.back() : rng.below(4));
  }
  ConfusionMeter meter(4);
  meter.add(integers(labels), integers(predicted));
  double f1_sum = 0, recall_sum = 0;
  for (int64_t k = 0; k < 4; ++k) {
    double tp = 0, fp = 0, fn = 0;
    for (int i = 0; i < 500; ++i) {
      tp += labels[i] == k && predicted[i] == k;
      fp += labels[i] != k && predicted[i] == k;
      fn += labels[i] == k && predicted[i] != k;
    }
    EXPECT_DOUBLE_EQ(meter.precision(k), tp / (tp + fp));
    EXPECT_DOUBLE_EQ(meter.recall(k), tp / (tp + fn));
    f1_sum += 2 * tp / (2 * tp + fp + fn);
    recall_sum += tp / (tp + fn);
  }
  EXPECT_NEAR(meter.macro_f1(), f1_sum / 4, 1e-12);
  EXPECT_NEAR(meter.balanced_accuracy(), recall_sum / 4, 1e-12);
}

TEST(ConfusionMeter, RefusesLabelsOutOfRange) {
  ConfusionMeter meter(2);
  EXPECT_THROW(meter.add(integers({0}), integers({2})), Error);
  EXPECT_THROW(meter.add(integers({-1}), integers({0})), Error);
  EXPECT_THROW(meter.add(integers({0, 1}), integers({0})), Error);
}

TEST(RankMeter, AgreesWithASlowLoopOnTies) {
  Rng rng(2);
  for (int trial = 0; trial < 5; ++trial) {
    std::vector<float> scores;
    std::vector<int64_t> positives;
    for (int i = 0; i < 200; ++i) {
      positives.push_back(rng.chance(0.3));
      scores.push_back(static_cast<float>(rng.below(12) + 2 * positives.back()) / 8);  // many ties
    }
    RankMeter meter;
    meter.add(torch::tensor(scores).slice(0, 0, 70), integers(positives).slice(0, 0, 70));
    meter.add(torch::tensor(scores).slice(0, 70), integers(positives).slice(0, 70));
    double wins = 0, pairs = 0, precision_sum = 0, num_positives = 0;
    for (int i = 0; i < 200; ++i) {
      if (!positives[i]) continue;
      double seen = 0, hits = 0;  // at the threshold that lets image i pass
      for (int j = 0; j < 200; ++j) {
        if (!positives[j]) {
          pairs += 1;
          wins += scores[i] > scores[j] ? 1 : scores[i] == scores[j] ? 0.5 : 0;
        }
        seen += scores[j] >= scores[i];
        hits += scores[j] >= scores[i] && positives[j];
      }
      num_positives += 1;
      precision_sum += hits / seen;
    }
    EXPECT_NEAR(meter.auroc(), wins / pairs, 1e-12);
    EXPECT_NEAR(meter.average_precision(), precision_sum / num_positives, 1e-12);
  }
}

TEST(RankMeter, IsUndefinedWithOneKindOnly) {
  RankMeter meter;
  meter.add(torch::tensor({0.1f, 0.2f}), integers({0, 0}));
  EXPECT_TRUE(std::isnan(meter.auroc()));
  EXPECT_TRUE(std::isnan(meter.average_precision()));
  EXPECT_THROW(meter.add(torch::full({1}, std::nan("")), integers({1})), Error);
  meter.reset();
  meter.add(torch::tensor({0.1f, 0.2f}), integers({0, 1}));
  EXPECT_DOUBLE_EQ(meter.auroc(), 1.0);
}

/// Pixels of `a` with a pixel of `b` within the tolerance, by comparing all pairs.
double slow_count_near(const Tensor& a, const Tensor& b, double tolerance) {
  const Tensor of_a = a.nonzero(), of_b = b.nonzero();  // [M,2]
  double near = 0;
  for (int64_t i = 0; i < of_a.size(0); ++i) {
    bool met = false;
    for (int64_t j = 0; j < of_b.size(0) && !met; ++j) {
      const auto dy = static_cast<double>((of_a[i][0] - of_b[j][0]).item<int64_t>());
      const auto dx = static_cast<double>((of_a[i][1] - of_b[j][1]).item<int64_t>());
      met = dx * dx + dy * dy <= tolerance * tolerance;
    }
    near += met;
  }
  return near;
}

TEST(MaskMeter, AgreesWithASlowLoop) {
  Rng rng(4);
  const double tolerance = 1.5;
  const Tensor mask = random_mask(rng, 3, 12, 0.1), truth = random_mask(rng, 3, 12, 0.1);
  MaskMeter meter(tolerance);
  meter.add(mask.slice(0, 0, 2), truth.slice(0, 0, 2));
  meter.add(mask.slice(0, 2), truth.slice(0, 2));
  double both = 0, any = 0, marked = 0, real = 0, iou_sum = 0, near_truth = 0, near_mask = 0;
  for (int64_t n = 0; n < 3; ++n) {
    double image_both = 0, image_any = 0;
    for (int64_t i = 0; i < 144; ++i) {
      const bool m = mask[n].flatten()[i].item<float>() > 0;
      const bool t = truth[n].flatten()[i].item<float>() > 0;
      image_both += m && t;
      image_any += m || t;
      marked += m;
      real += t;
    }
    both += image_both;
    any += image_any;
    iou_sum += image_both / image_any;
    near_truth += slow_count_near(mask[n][0], truth[n][0], tolerance);
    near_mask += slow_count_near(truth[n][0], mask[n][0], tolerance);
  }
  EXPECT_EQ(meter.images(), 3);
  EXPECT_DOUBLE_EQ(meter.iou(), both / any);
  EXPECT_DOUBLE_EQ(meter.mean_iou(), iou_sum / 3);
  EXPECT_DOUBLE_EQ(meter.precision(), both / marked);
  EXPECT_DOUBLE_EQ(meter.recall(), both / real);
  EXPECT_DOUBLE_EQ(meter.f1(), 2 * both / (marked + real));
  const double precision = near_truth / marked, recall = near_mask / real;
  EXPECT_DOUBLE_EQ(meter.tolerant_f1(), 2 * precision * recall / (precision + recall));
  EXPECT_GT(meter.tolerant_f1(), meter.f1());
}

TEST(MaskMeter, ToleranceIncludesItsBound) {
  Tensor mask = torch::zeros({1, 1, 9, 9}), truth = torch::zeros({1, 1, 9, 9});
  mask[0][0][1][1] = 1;
  truth[0][0][4][5] = 1;  // 3 down and 4 right: 5 away
  MaskMeter near(5.0), far(4.9);
  near.add(mask, truth);
  far.add(mask, truth);
  EXPECT_DOUBLE_EQ(near.tolerant_f1(), 1);
  EXPECT_DOUBLE_EQ(far.tolerant_f1(), 0);
  EXPECT_DOUBLE_EQ(near.f1(), 0);
}

TEST(MaskMeter, EmptyMasks) {
  const Tensor empty = torch::zeros({1, 1, 4, 4}), full = torch::ones({1, 1, 4, 4});
  MaskMeter meter;
  meter.add(empty, empty);
  EXPECT_DOUBLE_EQ(meter.mean_iou(), 1);
  EXPECT_TRUE(std::isnan(meter.iou()));
  EXPECT_TRUE(std::isnan(meter.tolerant_f1()));
  meter.reset();
  meter.add(empty, full);
  EXPECT_DOUBLE_EQ(meter.iou(), 0);
  EXPECT_DOUBLE_EQ(meter.tolerant_f1(), 0);
  EXPECT_TRUE(std::isnan(meter.precision()));
  EXPECT_THROW(meter.add(empty, torch::zeros({1, 1, 4, 5})), Error);
}

TEST(SaliencyCurve, AgreesWithASlowLoop) {
  Rng rng(5);
  const Tensor truth = random_mask(rng, 2, 16, 0.2);
  // Values on the grid of bins, so that binning loses nothing; with ties.
  Tensor saliency = torch::empty_like(truth);
  float* value = saliency.data_ptr<float>();
  for (int64_t i = 0; i < saliency.numel(); ++i)
    value[i] = static_cast<float>(rng.below(40) + (truth.data_ptr<float>()[i] > 0 ? 20 : 0)) / 64;
  SaliencyCurve curve;
  curve.add(saliency, truth);
  double best = 0;
  for (int level = 1; level < 64; ++level) {
    MaskMeter meter;
    const double threshold = level / 64.0;
    meter.add((saliency >= threshold).to(torch::kFloat32), truth);
    EXPECT_DOUBLE_EQ(curve.iou_at(threshold), meter.iou());
    best = std::max(best, meter.iou());
  }
  EXPECT_DOUBLE_EQ(curve.iou_at(curve.best_threshold()), best);
  RankMeter ranks;
  ranks.add(saliency.flatten(), truth.flatten());
  EXPECT_NEAR(curve.average_precision(), ranks.average_precision(), 1e-12);
}

TEST(SaliencyCurve, MapsMustBeNumbers) {
  SaliencyCurve curve;
  EXPECT_THROW(curve.add(torch::full({1, 1, 2, 2}, std::nan("")), torch::zeros({1, 1, 2, 2})),
               Error);
}

TEST(SaliencyCurve, GivesThePointsOfPrecisionAndRecallOfASlowLoop) {
  Rng rng(6);
  const Tensor truth = random_mask(rng, 2, 16, 0.3);
  Tensor saliency = torch::empty_like(truth);
  float* value = saliency.data_ptr<float>();
  for (int64_t i = 0; i < saliency.numel(); ++i)
    value[i] = static_cast<float>(rng.below(20) + (truth.data_ptr<float>()[i] > 0 ? 10 : 0)) / 64;
  SaliencyCurve curve;
  curve.add(saliency, truth);
  const auto points = curve.points();
  size_t place = 0;
  for (int level = 63; level >= 0; --level) {
    const double threshold = level / 64.0;
    if ((saliency == threshold).sum().item<int64_t>() == 0) continue;
    MaskMeter meter;
    meter.add((saliency >= threshold).to(torch::kFloat32), truth);
    ASSERT_LT(place, points.size());
    EXPECT_DOUBLE_EQ(points[place].threshold, threshold);
    EXPECT_DOUBLE_EQ(points[place].precision, meter.precision());
    EXPECT_DOUBLE_EQ(points[place].recall, meter.recall());
    ++place;
  }
  EXPECT_EQ(place, points.size());
  EXPECT_DOUBLE_EQ(points.back().recall, 1);
}

TEST(SaliencyCurve, ChoosesTheMiddleOfEquallyGoodThresholds) {
  SaliencyCurve curve;
  curve.add(torch::tensor({0.25f, 0.75f}), torch::tensor({0.0f, 1.0f}));
  EXPECT_NEAR(curve.best_threshold(), 0.5, 2.0 / SaliencyCurve::kBins);
  EXPECT_DOUBLE_EQ(curve.iou_at(curve.best_threshold()), 1.0);
  curve.reset();
  EXPECT_TRUE(std::isnan(curve.best_threshold()));
  EXPECT_TRUE(std::isnan(curve.average_precision()));
  EXPECT_TRUE(curve.points().empty());
  curve.add(torch::zeros({4}), torch::tensor({0.0f, 1.0f, 1.0f, 0.0f}));  // a blind map
  EXPECT_TRUE(std::isnan(curve.best_threshold()));
}

}  // namespace
}  // namespace flipside::meters_test
