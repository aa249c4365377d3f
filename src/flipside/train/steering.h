#pragma once

#include <cmath>

#include "flipside/core/torch.h"

namespace flipside {

/// Moves the logarithm of a loss's factor by a hundredth of `wish`, which is in [-1, 1], where
/// `adjust`, a scalar tensor, is 1, and not where it is 0; the factor stays within [`least`, 30].
inline void steer(const Tensor& log_factor, const Tensor& wish, const Tensor& adjust,
                  double least) {
  constexpr double kRate = 0.01, kLargest = 30;
  log_factor.add_(wish * adjust, kRate).clamp_(std::log(least), std::log(kLargest));
}

}  // namespace flipside
