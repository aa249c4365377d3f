#include "flipside/eval/calibration.h"

#include "flipside/eval/doubt.h"
#include "flipside/eval/evaluator.h"

namespace flipside {

void calibrate(Model& model, const ImageFolder& folder, const ProcessGroup& group) {
  model.doubt_rule = choose_doubt_rule(model, folder, model.config.train.coverage, group);
  if (model.config.model.kind != ModelKind::kCounterfactual) return;
  model.thresholds = {};  // chosen on first passes: where a second one goes, they decide
  model.thresholds = choose_thresholds(Explainer(model, /*sensitivity=*/1.0, group), folder);
}

}  // namespace flipside
