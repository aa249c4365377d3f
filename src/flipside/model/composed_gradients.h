#pragma once

#include <functional>

#include "flipside/core/torch.h"

namespace flipside {

/// What a fused node's backward returns when its gradients are to be differentiated again: those of
/// the same function composed of libtorch's operators. One entry for each of `inputs`, undefined
/// where none is needed; `doutputs` are the gradients of what `composed` returns.
torch::autograd::tensor_list composed_gradients(
    const torch::autograd::tensor_list& inputs, const torch::autograd::tensor_list& doutputs,
    const std::function<torch::autograd::tensor_list()>& composed);

}  // namespace flipside
