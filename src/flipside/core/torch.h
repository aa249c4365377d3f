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

}  // namespace flipside
