#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <vector>

#include "flipside/core/torch.h"

namespace flipside {

/// Checks autograd against central differences, in double: for `inputs` (float64 leaves that
/// require gradients) and a fixed random projection of `function`'s value, every stride-th element
/// of each input (at most `max_elements` of them). Fails the test where the two differ by more than
/// `tolerance`, relative to 1 + |gradient|.
inline void expect_gradients(const std::function<Tensor(const std::vector<Tensor>&)>& function,
                             std::vector<Tensor> inputs, double tolerance = 1e-6,
                             int64_t max_elements = 40, double step = 1e-5) {
  const Tensor value = function(inputs);
  const Tensor projection = torch::randn_like(value.detach());
  const auto gradients = torch::autograd::grad({(value * projection).sum()}, inputs);
  torch::NoGradGuard no_grad;
  // The projected value with element `j` of input `i` moved by `delta`.
  const auto moved = [&](size_t i, int64_t j, double delta) {
    Tensor shift = torch::zeros({inputs[i].numel()}, torch::kDouble);
    shift[j] = delta;
    const Tensor original = inputs[i].clone();
    inputs[i].add_(shift.view(inputs[i].sizes()));
    const double result = (function(inputs) * projection).sum().item<double>();
    inputs[i].copy_(original);
    return result;
  };
  for (size_t i = 0; i < inputs.size(); ++i) {
    const Tensor gradient = gradients[i].reshape({-1});
    const int64_t stride = std::max<int64_t>(1, inputs[i].numel() / max_elements);
    for (int64_t j = 0; j < inputs[i].numel(); j += stride) {
      const double numeric = (moved(i, j, step) - moved(i, j, -step)) / (2 * step);
      EXPECT_NEAR(gradient[j].item<double>(), numeric, tolerance * (1 + std::abs(numeric)))
          << "input " << i << ", element " << j;
    }
  }
}

}  // namespace flipside
