#pragma once

#include <string>

#include "flipside/eval/robustness.h"

namespace flipside {

/// Accuracy against eps with 95 % bands, as SVG: one curve per attack and the worst case. With a
/// reject option: the share right or rejected.
std::string robustness_svg(const Robustness& victim, Norm norm);

}  // namespace flipside
