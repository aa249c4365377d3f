#pragma once

#include <cstdint>

#include "flipside/data/dataset.h"
#include "flipside/model/model.h"

namespace flipside {

struct DistillOptions {
  int64_t steps = 1280;  ///< of the optimiser, > 0
  uint64_t seed = 1;     ///< of the images' order and variation
};

/// A model like `teacher` whose generator gives in one pass what `Explainer` makes of all views and
/// a second pass (docs/equations.md, "One pass"): learned on the folder's training images, varied
/// as in training; masks are not looked at. The discriminator is the teacher's. `explain.one_pass`
/// is set; thresholds are the teacher's, as the maps are, but its rule of doubt should be chosen
/// anew. The same seed gives the same weights on one machine. Throws `Error(kUsage)` for a model
/// that has no other views, `Error(kArgument)` for a classifier or segmenter.
Model distil(const Model& teacher, const ImageFolder& folder, const DistillOptions& options);

}  // namespace flipside
