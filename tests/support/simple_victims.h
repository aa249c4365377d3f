#pragma once

#include <vector>

#include "flipside/attack/threat_model.h"
#include "flipside/attack/victim.h"

namespace flipside {

/// Two classes by one linear function: logits (0, <w, x> + b), w of an image's shape [C,H,W].
inline Victim linear_victim(const Tensor& weights, double bias) {
  return {[weights, bias](const Tensor& images) {
            const Tensor score =
                images.flatten(1).to(weights.dtype()).matmul(weights.flatten()) + bias;
            return torch::stack({torch::zeros_like(score), score}, /*dim=*/1);
          },
          /*num_classes=*/2, /*rejects=*/false};
}

/// A small network with curved boundaries: `classes` logits of `inputs` values, one hidden layer of
/// tanh. Weights drawn from `seed`.
inline Victim curved_victim(int64_t inputs, int64_t classes, uint64_t seed, double scale = 3.0) {
  torch::manual_seed(seed);
  const Tensor first = scale * torch::randn({inputs, 12}), shift = torch::randn({12});
  const Tensor second = torch::randn({12, classes});
  return {[=](const Tensor& images) {
            return (2 * (images.flatten(1) - 0.5).matmul(first) + shift).tanh().matmul(second);
          },
          classes, /*rejects=*/false};
}

/// N streams for tests.
inline std::vector<Rng> test_streams(int64_t count, uint64_t work = 0) {
  std::vector<int64_t> numbers;
  for (int64_t i = 0; i < count; ++i) numbers.push_back(i);
  return image_streams(/*seed=*/3, work, numbers);
}

}  // namespace flipside
