// In place of sample_pictures.cpp and explained_masks.cpp where FLIPSIDE_OPENCV is off: a training
// or an attack goes on without its pictures.
#include "flipside/core/error.h"
#include "flipside/report/explained_masks.h"
#include "flipside/report/sample_pictures.h"

namespace flipside {

void draw_counterfactuals(const Explanation&, const Batch&, const std::vector<std::string>&,
                          const fs::path&) {}

void draw_attacked(const fs::path&, const Victim&, const Tensor&, const Tensor&,
                   const std::vector<std::string>&, const SuiteOptions&) {}

ExplainedMaskScores score_explained_masks(const Explainer&, const ImageFolder& folder, Split,
                                          const Model*) {
  fail(ErrorCode::kUsage,
       "{}: this flipside was built without OpenCV and reads no photographs: measure their masks "
       "with another build",
       folder.root.string());
}
std::string to_text(const ExplainedMaskScores&) { return ""; }
std::string to_json(const ExplainedMaskScores&) { return "{}"; }

}  // namespace flipside
