#pragma once

#include <vector>

#include "flipside/data/loader.h"
#include "flipside/eval/evaluator.h"

namespace flipside {

/// What a model of any kind says of N images, on the CPU. Undefined is what its kind cannot answer:
/// a classifier has probabilities alone, a segmenter map and mask alone.
struct Answers {
  Tensor probs;                 ///< [N,K], "fake" left out
  Tensor fakeness;              ///< [N] in [0,1]
  Tensor counterfactual;        ///< [N,3,H,W] in [0,1]
  Tensor counterfactual_probs;  ///< [N,K]
  /// [N,1,H,W] in [0,1]: the saliency of a counterfactual, or a segmenter's probability.
  Tensor map;
  /// [N,1,H,W] of 0 and 1: what `evaluate` judges. Of a counterfactual: where the image was
  /// changed, whatever class was predicted.
  Tensor mask;
};

/// `images` [N,3,H,W] in [0,1]; true classes `labels`, whose thresholds the masks have, and
/// `targets`, both [N] int64 in [0,K), which only a counterfactual model looks at.
Answers answer(const Model& model, const Tensor& images, const Tensor& labels,
               const Tensor& targets);

/// What a model says of one image: numbers alone, so that those of a whole split take no room. NaN
/// or -1 where the model's kind has no such answer.
struct ImageScore {
  int64_t index = 0;                ///< into the split's records
  int64_t label = 0;                ///< true class
  int64_t target = -1;              ///< class of the counterfactual
  int64_t predicted = -1;           ///< by the discriminator or classifier
  double probability = kUndefined;  ///< of the predicted class
  double fakeness = kUndefined;
  double target_probability = kUndefined;  ///< of the counterfactual, "fake" left out
  bool flipped = false;                    ///< the counterfactual is taken for its target
  double iou = kUndefined;                 ///< of a defect image that has a mask
};

/// One score for each image of a batch; `targets` and `answers` as in `answer`.
std::vector<ImageScore> scores_of(const Model& model, const Batch& batch, const Tensor& targets,
                                  const Answers& answers);

/// The scores of a split, and what its maps find at every threshold.
struct ImageScores {
  /// By index. A counterfactual model's reference images have one score for each defect class that
  /// they are turned into, one after the other.
  std::vector<ImageScore> scores;
  SaliencyCurve curve;
};

/// Goes through the rest of `loader`: defect images are turned into the reference class, reference
/// images into each defect class. Masks are judged given the true label, as `evaluate` does.
ImageScores score_images(const Model& model, EvalLoader& loader);

/// Places in a list of values, which need not be sorted.
struct Extremes {
  std::vector<size_t> best, median, worst;  ///< best: highest first; worst: lowest first
};

/// The `each` highest, middle and lowest of the values; of equals the first is higher. No place is
/// given twice: with few values the middle, and then the worst, stay shorter. NaN is left out.
Extremes extremes(const std::vector<double>& values, size_t each);

}  // namespace flipside
