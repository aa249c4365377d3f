#pragma once

#include <vector>

namespace flipside {

/// Arithmetic mean; `values` must not be empty.
double mean(const std::vector<double>& values);

/// Cohen's d (Cohen 1988): the distance of the means in pooled standard deviations. Both need two
/// values or more; infinite where only the means differ.
double cohens_d(const std::vector<double>& a, const std::vector<double>& b);

}  // namespace flipside
