#pragma once

#include <string>

#include "flipside/data/dataset.h"
#include "flipside/explain/explainer.h"

namespace flipside {

/// How the masks that `explain` writes fit the true ones, at the size of the photographs, and what
/// its counterfactuals are taken for there.
struct ExplainedMaskScores {
  int64_t images = 0;                                               ///< defects with a mask
  double iou = 0, mean_iou = 0, f1 = 0, precision = 0, recall = 0;  ///< as in `MaskMeter`
  /// What is marked is so many times as wide as what should be, both as area over length of the
  /// centre lines: the median over the images where both masks show something, and the quartiles
  /// about it. NaN where there is no such image.
  double width = 0, width_low = 0, width_high = 0;
  /// Shares of the images not explained in windows (NaN where all are) whose counterfactual the
  /// model takes for its target class: as the networks made it, and as it is written, seen anew.
  double turned = 0, turned_as_written = 0;
  /// Of these images, those that the judge (or else the model) takes for defects: the share that it
  /// takes for good once the pixels of the photograph under the mask, as written, are those of the
  /// counterfactual, as written; and what the true mask does in its place. A border that runs
  /// through a pixel of the networks is met here; in `FaithfulnessScores` it is all or nothing.
  double deletion = 0, deletion_by_true_masks = 0;
};

/// Explains each defect of the split that has a mask as `explain` does with its defaults: by the
/// class that is predicted, so that a defect taken for a good part has an empty mask, and in
/// windows where the image is large. (`evaluate` measures given the true label, at the training
/// size.) `judge`: an independent classifier of the same classes and size, or nullptr. Throws
/// `Error(kUsage)` for a packed data set and a build without OpenCV, `Error(kData)` where no defect
/// has a mask, `Error(kArgument)` for an unfit judge, and what reading images throws.
ExplainedMaskScores score_explained_masks(const Explainer& explainer, const ImageFolder& folder,
                                          Split split, const Model* judge = nullptr);

std::string to_text(const ExplainedMaskScores& scores);
std::string to_json(const ExplainedMaskScores& scores);

}  // namespace flipside
