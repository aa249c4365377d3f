#pragma once

#include "flipside/data/dataset.h"
#include "flipside/eval/change.h"
#include "flipside/model/model.h"

namespace flipside {

// The judge: a classifier that had no part in a model's training and says what its counterfactuals
// show.

/// Throws `Error(kArgument)` unless `judge` is a classifier of the model's classes and size.
void check_judge(const Model& judge, const Model& model);

/// Warns where the judge may have learned images of `folder` that it now judges, as its training
/// split the folder otherwise than the model's.
void warn_of_other_split(const Model& judge, const Model& model, const ImageFolder& folder);

/// The judge's penultimate layer, for Fréchet distances; shares its network.
ChangeTable::Features judge_features(const Model& judge);

}  // namespace flipside
