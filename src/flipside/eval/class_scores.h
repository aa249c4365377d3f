#pragma once

#include <optional>

#include "flipside/eval/evaluator.h"
#include "flipside/eval/meters.h"
#include "flipside/model/model.h"

namespace flipside {

/// Class scores of any model with probabilities.
class ClassScores {
 public:
  /// With `doubt`, certain and doubtful answers apart, by the model's rule.
  ClassScores(const Model& model, bool doubt);
  /// `labels` [N] int64 in [0,K), `probs` [N,K]; `doubt` [N] by the model's rule, undefined where
  /// it has none.
  void add(const Tensor& labels, const Tensor& probs, const Tensor& doubt);
  /// Accuracies, AUROC, confusion and, with doubt, `certain`.
  void write(Results& results) const;

 private:
  int64_t reference_;
  std::optional<DoubtRule> rule_;
  ConfusionMeter confusion_, certain_, doubtful_;
  RankMeter ranks_;
};

}  // namespace flipside
