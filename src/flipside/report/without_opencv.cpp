// In place of sample_pictures.cpp where FLIPSIDE_OPENCV is off: a training or an attack goes on
// without its pictures.
#include "flipside/report/sample_pictures.h"

namespace flipside {

void draw_counterfactuals(const Explanation&, const Batch&, const std::vector<std::string>&,
                          const fs::path&) {}

void draw_attacked(const fs::path&, const Victim&, const Tensor&, const Tensor&,
                   const std::vector<std::string>&, const SuiteOptions&) {}

}  // namespace flipside
