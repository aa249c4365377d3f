#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "flipside/core/numbers.h"
#include "flipside/core/process_group.h"
#include "flipside/data/dataset.h"
#include "flipside/eval/change.h"
#include "flipside/eval/faithfulness.h"
#include "flipside/eval/meters.h"
#include "flipside/explain/explainer.h"

namespace flipside {

/// Mask quality at one threshold, on images of defect classes that have masks.
struct MaskScores {
  double threshold = 0;
  double iou = 0, mean_iou = 0, f1 = 0, tolerant_f1 = 0, precision = 0, recall = 0;
};

/// What a meter says of masks made at `threshold`.
MaskScores mask_scores(const MaskMeter& meter, double threshold);

/// Counterfactuals from one class to another.
struct FlipScores {
  int64_t from = 0, to = 0, images = 0;
  double by_discriminator = 0;         ///< share that D gives the target class, "fake" left out
  double by_discriminator_strict = 0;  ///< the same with "fake" a possible answer
  std::optional<double> by_judge;      ///< share that an independent classifier gives the target
};

/// What the model's `doubt_rule` makes of the images.
struct CertainScores {
  DoubtRule rule;
  double coverage = 0;  ///< share of answers that are certain
  /// Of the certain answers and of the others; NaN where there are none.
  double accuracy = kUndefined, doubtful_accuracy = kUndefined;
};

/// Everything `flipside evaluate` reports. What a kind of model cannot answer is empty, or NaN.
struct Results {
  Split split = Split::kTest;
  std::vector<std::string> class_names;
  int64_t reference_class = 0;
  int64_t images = 0;
  double accuracy = kUndefined, balanced_accuracy = kUndefined, macro_f1 = kUndefined;
  double auroc = kUndefined;          ///< defect (not the reference class) against reference
  double head_accuracy = kUndefined;  ///< of the generator's head
  std::optional<CertainScores> certain;
  std::optional<double> judge_accuracy;
  std::vector<std::vector<int64_t>> confusion;
  std::vector<FlipScores> flips;
  std::vector<ChangeScores> changes;   ///< of the same pairs, and of good images asked to stay good
  double false_marks = kUndefined;     ///< of these changes
  double mask_diversity = kUndefined;  ///< `ChangeScores::diversity` of the true masks
  bool without_cast = false;           ///< maps leave out casts of colour (`Thresholds`)
  int64_t mask_images = 0;             ///< images with masks that the mask scores rest on
  std::optional<MaskScores> label_free, tuned;
  std::optional<MaskScores> fixed;  ///< a segmenter's masks at probability 0.5
  std::optional<double> pixel_average_precision;
  std::optional<double> darkness_iou;  ///< trivial map, threshold from validation masks
  /// Of the label-free masks of defect images, explained towards the reference class; the masks
  /// need no truth.
  std::optional<FaithfulnessScores> faithfulness, judge_faithfulness;
  /// Yardsticks, by the judge or else by the model: the true masks with the pixels of the model's
  /// counterfactuals, and with those of the exact counterfactuals. No COUT.
  std::optional<FaithfulnessScores> true_mask_faithfulness, exact_faithfulness;
  /// Synthetic data: mean |x_cf - true counterfactual| inside and outside the defect.
  std::optional<double> error_inside, error_outside;
};

struct EvaluateOptions {
  Split split = Split::kTest;
  const Model* judge = nullptr;  ///< a classifier with the same class names
  int64_t batch = 32;
  /// Measure everything. Otherwise classes, flips, changes and masks alone, at half of the passes:
  /// neither doubt nor Fréchet distances, darkness map or faithfulness.
  bool everything = true;
  /// Title of a progress line over the split's images; empty: none.
  std::string progress;
  /// The processes that share the work of `evaluate(model, ...)`, each of which must call it and
  /// gets all results. Everything but the networks' passes is done by each of them.
  ProcessGroup group;
};

/// Measures on `folder`. Masks are judged given the true label (a defect image is explained towards
/// the reference class), so that classification and localisation are told apart; README and report
/// say so. Throws `Error(kData)` when class names differ from the model's, or when the split holds
/// no image, and what `check_judge` throws.
Results evaluate(const Explainer& explainer, const ImageFolder& folder,
                 const EvaluateOptions& options);

/// The same for a model of any kind: a classifier gets the scores of its classes, a segmenter those
/// of its masks (as they are, without clean-up) at probability 0.5 and at the threshold of best IoU
/// on the validation masks.
Results evaluate(const Model& model, const ImageFolder& folder, const EvaluateOptions& options);

/// Chooses both thresholds on the validation split: label-free (Otsu over the saliency of defect
/// images, without what is below `kVisibleChange`) and, where masks exist, the one of best IoU; and
/// first which maps: without casts of colour where at least half of the images of defects have one
/// (docs/equations.md, "Masks"). Test data never enters.
Thresholds choose_thresholds(const Explainer& explainer, const ImageFolder& folder);

/// The threshold of best IoU on the validation masks for any other map: `map` takes images
/// [N,3,H,W] and gives [N,1,H,W] in [0,1]. NaN without masks.
double tune_threshold(const std::function<Tensor(const Tensor&)>& map, const ImageFolder& folder,
                      const DataConfig& config, int64_t batch = 32);

/// Rows [M] int64 of the batch that hold a defect image (not of class `reference`) with a mask.
Tensor rows_with_masks(const Batch& batch, int64_t reference);

/// darkness = max(0, local median - gray): the trivial map that any method must beat. [N,3,H,W] in
/// [0,1] -> [N,1,H,W].
Tensor darkness_map(const Tensor& images);

std::string to_text(const Results& results);
std::string to_json(const Results& results);

}  // namespace flipside
