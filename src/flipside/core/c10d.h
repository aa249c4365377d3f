#pragma once

#include <exception>
#include <functional>
#include <memory>
#include <string>

#include "flipside/core/launch.h"
#include "flipside/core/torch.h"

namespace flipside {

// What `ProcessGroup` needs of libtorch's c10d. Only c10d.cpp sees its headers, which differ
// between versions and want Gloo's.

/// Connections to the other processes. Throws `Error` while they are made and whatever c10d throws
/// after that.
class Links {
 public:
  explicit Links(const Launch& launch);
  ~Links();
  Links(const Links&) = delete;
  Links& operator=(const Links&) = delete;
  /// Of a contiguous tensor, in place.
  std::function<void()> start_sum(const Tensor& tensor);
  /// From the first process, in place; `tensor` is contiguous.
  void broadcast(Tensor& tensor);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// What an exception says, without libtorch's backtrace.
std::string first_line(const std::exception& error);

}  // namespace flipside
