#pragma once

#include <c10/core/Allocator.h>
#include <c10/util/ThreadLocalDebugInfo.h>

#include <atomic>
#include <memory>
#include <type_traits>

#include "flipside/core/torch.h"

namespace flipside {

/// Counts the bytes of tensors that this thread (and the backward passes it starts) allocates less
/// those that it frees, while it lives.
class LiveMemory {
 public:
  int64_t bytes() const { return counter_->bytes; }

 private:
  using Total = std::conditional_t<(TORCH_VERSION_MAJOR >= 2), size_t, int64_t>;
  struct Counter : public c10::MemoryReportingInfoBase {
    void reportMemoryUsage(void*, int64_t alloc_size, Total, Total, c10::Device) override {
      bytes += alloc_size;
    }
    bool memoryProfilingEnabled() const override { return true; }
    std::atomic<int64_t> bytes{0};
  };

  std::shared_ptr<Counter> counter_ = std::make_shared<Counter>();
  c10::DebugInfoGuard guard_{c10::DebugInfoKind::PROFILER_STATE, counter_};
};

}  // namespace flipside
