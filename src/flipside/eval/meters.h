#pragma once

#include <vector>

#include "flipside/core/torch.h"

namespace flipside {

// Meters gather and answer: `add`, value(s), `reset`. Each is checked against a slow loop in its
// test. Undefined ratios (0/0) are NaN unless said otherwise.

/// K x K counts; rows are true labels, columns predictions.
class ConfusionMeter {
 public:
  explicit ConfusionMeter(int64_t num_classes);
  void add(const Tensor& labels, const Tensor& predicted);  ///< [N] int64 each
  void reset();
  const std::vector<std::vector<int64_t>>& counts() const { return counts_; }
  int64_t total() const;
  double accuracy() const;
  double balanced_accuracy() const;  ///< mean recall over classes that occur
  double precision(int64_t label) const;
  double recall(int64_t label) const;
  double f1(int64_t label) const;
  double macro_f1() const;  ///< mean over classes that occur

 private:
  std::vector<std::vector<int64_t>> counts_;
};

/// Scores with binary labels: area under the ROC curve and average precision, ties handled.
class RankMeter {
 public:
  void add(const Tensor& scores, const Tensor& positives);  ///< [N] float, [N] 0/1
  void reset();
  double auroc() const;
  double average_precision() const;

 private:
  std::vector<double> scores_;
  std::vector<uint8_t> positives_;
};

/// Masks against truth, both [N,1,H,W] of 0 and 1.
class MaskMeter {
 public:
  /// `tolerance`: distance in pixels (Euclidean) within which `tolerant_f1` forgives.
  explicit MaskMeter(double tolerance = 2.0) : tolerance_(tolerance) {}
  void add(const Tensor& mask, const Tensor& truth);
  void reset() { *this = MaskMeter(tolerance_); }
  int64_t images() const { return images_; }
  double iou() const;       ///< over all pixels of the set
  double mean_iou() const;  ///< mean of the images' IoU; 1 where mask and truth are both empty
  double precision() const;
  double recall() const;
  double f1() const;
  double tolerant_f1() const;  ///< F1 where a pixel counts as met within the tolerance

 private:
  double tolerance_;
  int64_t images_ = 0, intersection_ = 0, marked_ = 0, true_ = 0;
  int64_t marked_near_truth_ = 0, truth_near_mask_ = 0;
  double iou_sum_ = 0;
};

/// What a map finds from `threshold` on, over all pixels.
struct PrecisionRecall {
  double threshold = 0, precision = 0, recall = 0;
};

/// Saliency [N,1,H,W] in [0,1] against truth over a fixed grid of thresholds: the IoU curve, the
/// best threshold, and pixel average precision, in constant memory (1024 bins).
class SaliencyCurve {
 public:
  static constexpr int kBins = 1024;
  void add(const Tensor& saliency, const Tensor& truth);
  void reset() { *this = SaliencyCurve(); }
  double iou_at(double threshold) const;
  double best_threshold() const;  ///< NaN where no threshold finds anything
  double average_precision() const;
  /// Precision against recall from the highest threshold to 0, one point for each bin that holds
  /// a pixel; empty where no pixel is of the truth.
  std::vector<PrecisionRecall> points() const;

 private:
  std::vector<int64_t> positive_ = std::vector<int64_t>(kBins), negative_ = positive_;
};

}  // namespace flipside
