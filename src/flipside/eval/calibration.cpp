#include "flipside/eval/calibration.h"

#include "flipside/eval/doubt.h"
#include "flipside/eval/evaluator.h"

namespace flipside {

Model first_passes(Model model) {
  model.config.explain.second_pass = false;
  model.config.explain.furthest = 1;
  return model;
}

void calibrate(Model& model, const ImageFolder& folder, const ProcessGroup& group) {
  model.doubt_rule = choose_doubt_rule(model, folder, model.config.train.coverage, group);
  if (model.config.model.kind != ModelKind::kCounterfactual) return;
  const Explainer explainer(first_passes(model), /*sensitivity=*/1.0, group);
  model.thresholds = choose_thresholds(explainer, folder);
}

}  // namespace flipside
