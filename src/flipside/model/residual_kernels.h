#pragma once

#include "flipside/model/lanes.h"

namespace flipside::kernels {

// The loops of `add_attended_change` over `count` pixels: `image` and `result` have three values a
// pixel, `raw` four, `attention` one. With a = sigmoid(raw_3) and t_i = tanh(raw_i),
//
//   result_i = clamp(image_i + a t_i, 0, 1).

void add_change(const float* image, const float* raw, int64_t count, float* result,
                float* attention);

/// Gradients from those of the result and (unless nullptr) of the attention. `dimage` may be
/// nullptr.
void change_gradient(const float* image, const float* raw, const float* dresult,
                     const float* dattention, int64_t count, float* draw, float* dimage);

}  // namespace flipside::kernels
