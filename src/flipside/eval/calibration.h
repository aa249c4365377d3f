#pragma once

#include "flipside/core/process_group.h"
#include "flipside/data/dataset.h"
#include "flipside/model/model.h"

namespace flipside {

/// The model without `explain.second_pass` and `explain.furthest`: thresholds are chosen, and the
/// generators of a training compared, by what they do at once, which these hide.
Model first_passes(Model model);

/// Chooses what a model of any kind says beyond its networks' answers anew, on the folder's
/// validation images: the thresholds of its masks (`choose_thresholds`; counterfactual models only)
/// and its rule of doubt (`choose_doubt_rule`, for `train.coverage`). In a group every process
/// calls this.
void calibrate(Model& model, const ImageFolder& folder, const ProcessGroup& group = {});

}  // namespace flipside
