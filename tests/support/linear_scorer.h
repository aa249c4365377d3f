#pragma once

#include "flipside/explain/attribution/scorer.h"

namespace flipside {

/// [count,3,side,side] in [0,1], always the same.
inline Tensor random_images(int64_t count, int64_t side) {
  torch::manual_seed(3);
  return torch::rand({count, 3, side, side});
}

/// Weights of that shape, positive and negative.
inline Tensor random_weights(int64_t count, int64_t side) {
  torch::manual_seed(4);
  return torch::randn({count, 3, side, side});
}

/// score_n = <w_n, x_n>, whose attributions are known.
inline Scorer linear_scorer(const Tensor& weights) {
  return [weights](const Tensor& images) { return (weights * images).sum({1, 2, 3}); };
}

}  // namespace flipside
