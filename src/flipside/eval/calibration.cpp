#include "flipside/eval/calibration.h"

#include "flipside/eval/doubt.h"
#include "flipside/eval/evaluator.h"

namespace flipside {

void calibrate(Model& model, const ImageFolder& folder, const ProcessGroup& group) {
  model.doubt_rule = choose_doubt_rule(model, folder, model.config.train.coverage, group);
  if (model.config.model.kind == ModelKind::kCounterfactual)
    model.thresholds = choose_thresholds(Explainer(model, /*sensitivity=*/1.0, group), folder);
}

}  // namespace flipside
