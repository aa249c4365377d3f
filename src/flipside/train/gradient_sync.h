#pragma once

#include <functional>
#include <vector>

#include "flipside/core/process_group.h"

namespace flipside {

/// Sums one network's gradients over the processes while the backward pass still runs: parameters
/// stand in buckets in the order in which their gradients come, and a bucket goes out when its last
/// gradient is there.
class GradientSync {
 public:
  /// `parameters` in the order of the forward pass; the group has more than one process.
  /// `bucket_bytes`: small enough to begin early, large enough to be worth a message.
  GradientSync(const std::vector<Tensor>& parameters, ProcessGroup group,
               int64_t bucket_bytes = 1 << 20);
  ~GradientSync();
  GradientSync(const GradientSync&) = delete;
  GradientSync& operator=(const GradientSync&) = delete;

  /// `loss.backward()`. Afterwards every parameter that got a gradient in at least one process has
  /// the sum in all of them, bit by bit the same; the others have none. The gradients must have
  /// been undefined before. Every process must call this. Throws as `ProcessGroup` does.
  void backward(const Tensor& loss);

 private:
  struct Slot {
    Tensor parameter;
    std::shared_ptr<torch::autograd::Node> accumulator;  ///< alive as long as its hook is wanted
    uintptr_t hook = 0;
    size_t bucket = 0;
    int64_t offset = 0;  ///< in the bucket
    bool arrived = false;
  };
  struct Bucket {
    std::vector<size_t> slots;
    Tensor flat;  ///< the gradients one after another, then one number per slot: 1 if it arrived
    int64_t numel = 0;
    size_t missing = 0;
    std::function<void()> wait;
  };

  void make_buckets(int64_t bucket_bytes);
  /// A parameter's part of its bucket.
  Tensor place_of(const Slot& slot) const;
  void arrive(size_t slot);
  /// Sends what is complete; buckets go out in order, since all processes must send alike.
  void send_complete();
  void send_rest();
  void take(Bucket& bucket);

  ProcessGroup group_;
  std::vector<Slot> slots_;
  std::vector<Bucket> buckets_;
  size_t next_bucket_ = 0;
  bool running_ = false;
};

}  // namespace flipside
