#pragma once

#include "flipside/eval/evaluator.h"
#include "flipside/train/run.h"

namespace flipside {

/// What the trainer does at intervals: chooses the thresholds on the validation split (or as much
/// of it as `train.validation_images` says) and stores them in the model, measures (accuracy, flip
/// rate, and IoU where there are masks) and draws `run/samples/step_NNNNNN.png`: input,
/// counterfactual, heat map, mask, truth.
///
/// In a group the processes share the networks' work; the first one draws.
Validate make_validation(const ImageFolder& whole, const fs::path& run, const ProcessGroup& group);

/// The score that chooses the best model, and what is printed and logged beside it. It comes from
/// labels alone: for counterfactual models the mean of balanced accuracy and flip rate by D, where
/// flips count less and less as `false_marks` goes from `kFalseMarks` to 1; for classifiers the
/// balanced accuracy. The segmenter, which is given masks anyway, is scored by its IoU.
ValidationScores validation_scores(const Results& results, ModelKind kind);

/// Measures everything of the run's best model on the images that it was validated on. Throws what
/// reading the run, its data or the model throws.
Results measure_best(const fs::path& run);

}  // namespace flipside
