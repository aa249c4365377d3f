#pragma once

#include <string>

#include "flipside/eval/doubt.h"

namespace flipside {

/// Risk against coverage, one curve per score, as SVG.
std::string risk_coverage_svg(const DoubtResults& results);

}  // namespace flipside
