#pragma once

#include <optional>

#include "flipside/data/loader.h"
#include "flipside/eval/evaluator.h"
#include "flipside/eval/faithfulness.h"
#include "flipside/explain/explainer.h"

namespace flipside {

/// The exact counterfactuals of a batch's defect images with masks, where they are known.
struct ExactImages {
  Tensor rows;    ///< [M] int64, of the batch
  Tensor images;  ///< [M,3,H,W] in [0,1]; undefined where M is 0
};

/// Faithfulness of a counterfactual model's masks, by the model and by a judge; and as yardsticks,
/// by the judge where there is one, what the true masks would have brought about. A classifier that
/// still sees a defect's rim around the *true* mask asks for more of a mask than to be right.
class FaithfulnessTable {
 public:
  /// Both must outlive the table; no judge: nullptr.
  FaithfulnessTable(const Explainer& explainer, const Model* judge);
  /// One batch and its explanations, of which those of defect images count, and the exact
  /// counterfactuals that are known.
  void add(const Batch& batch, const Explanation& explanation, const ExactImages& exact);
  void write(Results& results) const;

 private:
  void add_yardsticks(const Batch& batch, const Explanation& explanation, const ExactImages& exact);

  const Explainer& explainer_;
  FaithfulnessMeter own_;
  std::optional<FaithfulnessMeter> judge_;
  FaithfulnessMeter true_masks_, exact_;
};

}  // namespace flipside
