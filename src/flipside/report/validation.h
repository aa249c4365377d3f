#pragma once

#include "flipside/train/run.h"

namespace flipside {

/// What the trainer does at intervals: chooses the thresholds on the validation split (or as much
/// of it as `train.validation_images` says) and stores them in the model, measures (accuracy, flip
/// rate, and IoU where there are masks) and draws `run/samples/step_NNNNNN.png`: input,
/// counterfactual, heat map, mask, truth.
///
/// The score that chooses the best model comes from labels alone: for counterfactual models the
/// mean of balanced accuracy and flip rate by D, for classifiers the balanced accuracy. The
/// segmenter, which is given masks anyway, is scored by its IoU.
///
/// In a group the processes share the networks' work; the first one draws.
Validate make_validation(const ImageFolder& whole, const fs::path& run, const ProcessGroup& group);

}  // namespace flipside
