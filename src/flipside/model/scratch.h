#pragma once

#include "flipside/core/torch.h"

namespace flipside {

/// Memory of this thread for `floats` numbers, on a cache line: what one call of a kernel leaves
/// there is lost with the next one's. It is kept, so that small calls need not wait for the
/// allocator, which all threads share, and find it in their caches.
inline float* scratch(int64_t floats) {
  thread_local Tensor memory;
  if (!memory.defined() || memory.numel() < floats) memory = at::empty({floats}, at::kFloat);
  return memory.data_ptr<float>();
}

}  // namespace flipside
