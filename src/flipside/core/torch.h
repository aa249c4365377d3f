#pragma once
// The one place that includes libtorch (it is the precompiled header) and that knows what differs
// between its versions: Debian's 1.13.1 on the CPU and any 2.x with CUDA.

#include <torch/torch.h>
#include <torch/version.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace flipside {

using torch::Tensor;

/// Memory layout of every image tensor in the program: N, H, W, C in memory.
constexpr auto kChannelsLast = at::MemoryFormat::ChannelsLast;

/// values *= factor, a scalar tensor on their device: many tensors by one operator where libtorch
/// has it.
inline void multiply_all(at::TensorList values, const Tensor& factor) {
#if TORCH_VERSION_MAJOR > 2 || (TORCH_VERSION_MAJOR == 2 && TORCH_VERSION_MINOR >= 2)
  at::_foreach_mul_(values, factor);
#else
  for (const Tensor& value : values) value.mul_(factor);
#endif
}

}  // namespace flipside
