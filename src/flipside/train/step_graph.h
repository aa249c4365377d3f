#pragma once

#include <functional>
#include <memory>

#include "flipside/train/trainer.h"

namespace flipside {

/// A step's work as a CUDA graph, one for each phase of the training. The first few calls of a
/// phase do the work as it is written, on a stream of its own, so that the libraries choose their
/// algorithms and allocate; the next one records it, with all memory it takes, and from then on the
/// device repeats the record: thousands of small launches become one.
class StepGraph {
 public:
  using Work = std::function<LossTensors(const StepInput& input)>;

  /// `device` must be a CUDA device (`Error(kArgument)` otherwise).
  explicit StepGraph(at::Device device);
  ~StepGraph();
  StepGraph(const StepGraph&) = delete;
  StepGraph& operator=(const StepGraph&) = delete;

  /// Does a phase's `work` on `input` (on the CPU), in a phase always the same on the same shapes.
  /// The losses stand until the next call.
  LossTensors run(int phase, const StepInput& input, const Work& work);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace flipside
