#pragma once

#include "flipside/config/config.h"

namespace flipside {

/// Whether the training attacks any of its images.
inline bool is_attacked(const Config& config) {
  return config.loss.robust_fraction > 0 || config.loss.robust_cf_fraction > 0;
}

/// For two trainings that should differ by rounding alone. Attacks go by the signs of gradients:
/// those near zero differ with rounding, and at the usual learning rates two attacked trainings
/// part by 2 % within ten steps, on one processor too. So attacked ones learn little.
inline Config to_compare(Config config) {
  if (is_attacked(config))
    config.train.lr_generator = config.train.lr_discriminator = config.train.lr_classifier = 1e-5;
  return config;
}

}  // namespace flipside
