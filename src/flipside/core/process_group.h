#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "flipside/core/launch.h"
#include "flipside/core/shard.h"
#include "flipside/core/torch.h"

namespace flipside {

/// The processes that train one model together, over libtorch's c10d: Gloo for tensors in main
/// memory, NCCL for those of a GPU where libtorch has it. Every process must make the same calls
/// with tensors of the same shapes in the same order. Copies stand for the same group.
///
/// A call that cannot reach the others (a process ended, a machine or the network failed, nothing
/// came for `Launch::timeout`) throws `Error(kIo)`; the group is `broken` from then on.
class ProcessGroup {
 public:
  /// One process alone: nothing is sent, every call returns at once.
  ProcessGroup() = default;
  /// Meets the other processes of the launch, which may take until the last of them has started.
  /// Throws `Error(kIo)` when they do not come in time or the address cannot be used, and
  /// `Error(kUsage)` in a build without Gloo. A launch of one process gives a process alone.
  explicit ProcessGroup(const Launch& launch);

  int64_t rank() const;
  int64_t size() const;
  /// Among the processes of this machine.
  int64_t local_rank() const;
  int64_t local_size() const;
  bool is_alone() const { return !state_; }
  /// True for the one process that writes files and messages.
  bool is_first() const { return rank() == 0; }
  /// This process's share of numbered work.
  Shard shard() const { return {rank(), size()}; }
  bool broken() const;

  /// Replaces each tensor (dense, any numeric type) by the sum over the processes, the same bits in
  /// all of them.
  void sum(const std::vector<Tensor>& tensors) const;
  double sum(double value) const;
  /// Begins the sum of one contiguous tensor; call what it returns to wait for the end.
  std::function<void()> start_sum(const Tensor& tensor) const;
  /// Replaces each tensor by that of the first process.
  void broadcast(const std::vector<Tensor>& tensors) const;
  /// Does `work` in the first process and gives its result in all of them. An `Error` that it
  /// throws is thrown in all of them.
  std::string from_first(const std::function<std::string()>& work) const;
  /// `work` of this process's rows of `images` [N,...], N > 0, put together with the others': each
  /// tensor that it gives has one row per image. The tensors are copies in main memory.
  std::vector<Tensor> in_shares(
      const Tensor& images,
      const std::function<std::vector<Tensor>(const Tensor& images, const Tensor& rows)>& work)
      const;
  /// Throws `Error(kUsage)` in every process where `text` (what a run depends on, called `what` in
  /// the message) is not the same in all.
  void require_same(const std::string& what, const std::string& text) const;

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace flipside
