#pragma once

#include <string>
#include <vector>

#include "flipside/data/dataset.h"
#include "flipside/eval/class_maps.h"
#include "flipside/eval/evaluator.h"
#include "flipside/eval/faithfulness.h"

namespace flipside {

/// One method: what was chosen for it on the validation split, and what it then reaches.
struct MethodResult {
  AttributionMethod method = AttributionMethod::kCounterfactual;
  MapSetting setting;         ///< of best IoU on the validation masks
  double validation_iou = 0;  ///< of that setting at its tuned threshold
  MaskScores tuned;           ///< threshold of best IoU on the validation masks
  MaskScores label_free;      ///< the same setting, threshold by Otsu on validation maps
  double average_precision = kUndefined;       ///< over pixels, of the finished map
  std::vector<RandomisedLayer> randomisation;  ///< where asked for
};

struct Comparison {
  Split split = Split::kTest;
  int64_t images = 0, validation_images = 0;  ///< defect images with masks
  int64_t randomisation_images = 0;
  std::vector<MethodResult> methods;
};

struct CompareOptions {
  Split split = Split::kTest;
  std::vector<AttributionMethod> methods;  ///< none: all that the model has
  int64_t limit = 0;  ///< at most so many images of each split, evenly chosen; 0: all
  int64_t batch = 32;
  int64_t masks = 500;         ///< of RISE
  bool randomisation = false;  ///< the randomisation test too, on a few images
};

/// The settings that are tried for a method: every layer of a CAM, both baselines of integrated
/// gradients, and so on, each with every sign, smoothing and edge radius; the best of them also as
/// the mean over the views of the model, which the counterfactual always is. `layers`: levels of
/// the network.
std::vector<AttributionOptions> attribution_variants(AttributionMethod method, int64_t layers,
                                                     int64_t rise_masks);

/// Compares methods on defect images with masks, each explained given its true label. For every
/// method alike, the variant, views, sign, smoothing, edge radius, clean-up and threshold of best
/// IoU are chosen on the validation masks; masks of `options.split` choose nothing (unless it is
/// the validation split). Throws `Error(kData)` when class names differ or a split has no such
/// image, `Error(kArgument)` for a method that the model has not.
Comparison compare_methods(const Model& model, const ImageFolder& folder,
                           const CompareOptions& options);

std::string to_text(const Comparison& comparison);
std::string to_json(const Comparison& comparison);

/// What `to_json` says of a method's setting and thresholds: its inverse, for `explain`.
struct StoredSetting {
  MapSetting setting;
  double tuned = kUndefined, label_free = kUndefined;  ///< thresholds
};
/// Throws `Error(kUsage)` for text that is no comparison or lacks the method.
StoredSetting stored_setting(const std::string& json, AttributionMethod method);

}  // namespace flipside
