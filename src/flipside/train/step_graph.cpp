#include "flipside/train/step_graph.h"

#include "flipside/core/error.h"

#ifdef FLIPSIDE_CUDA
#include <ATen/cuda/CUDAEvent.h>
#include <ATen/cuda/CUDAGraph.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#endif

namespace flipside {

#ifdef FLIPSIDE_CUDA

namespace {

constexpr int kPlainRuns = 3;  // as many as libtorch's notes on CUDA graphs ask for

/// `later` begins what it is given from now on when `earlier` has done what it was given before.
void order(const c10::cuda::CUDAStream& earlier, const c10::cuda::CUDAStream& later) {
  at::cuda::CUDAEvent done;
  done.record(earlier);
  done.block(later);
}

/// A phase's work, recorded after some plain runs. To be called on one and the same stream.
class Recording {
 public:
  LossTensors run(const StepInput& values, at::Device device, const StepGraph::Work& work) {
    if (runs_ == 0)
      input_ = values.to(device);
    else
      input_.copy_(values);
    if (runs_ < kPlainRuns) {
      work_on_input(work);
    } else {
      if (runs_ == kPlainRuns) record(work);
      graph_.replay();
    }
    ++runs_;
    return losses_;
  }

 private:
  /// Computes nothing yet.
  void record(const StepGraph::Work& work) {
    c10::cuda::getCurrentCUDAStream().synchronize();
    // The loader's threads may go on allocating pinned memory meanwhile, hence the mode.
    graph_.capture_begin(/*pool=*/{0, 0}, cudaStreamCaptureModeThreadLocal);
    work_on_input(work);
    graph_.capture_end();
  }

  /// The losses let go of the pass behind them: what accumulates its gradients remembers a stream.
  void work_on_input(const StepGraph::Work& work) {
    losses_ = work(input_);
    for (auto& [name, loss] : losses_) loss = loss.detach();
  }

  at::cuda::CUDAGraph graph_;
  int64_t runs_ = 0;
  StepInput input_;     ///< its memory is what the record reads
  LossTensors losses_;  ///< its memory is what the record writes
};

}  // namespace

struct StepGraph::Impl {
  explicit Impl(at::Device device)
      : device(device),
        stream(c10::cuda::getStreamFromPool(/*isHighPriority=*/false, device.index())) {}

  at::Device device;
  c10::cuda::CUDAStream stream;
  std::map<int, Recording> phases;
};

StepGraph::StepGraph(at::Device device) {
  if (!device.is_cuda()) fail(ErrorCode::kArgument, "a CUDA graph needs a CUDA device");
  impl_ = std::make_unique<Impl>(device);
}

LossTensors StepGraph::run(int phase, const StepInput& input, const Work& work) {
  const auto caller = c10::cuda::getCurrentCUDAStream(impl_->device.index());
  order(caller, impl_->stream);
  LossTensors losses;
  {
    const c10::cuda::CUDAStreamGuard guard(impl_->stream);
    losses = impl_->phases[phase].run(input, impl_->device, work);
  }
  order(impl_->stream, caller);
  return losses;
}

#else

struct StepGraph::Impl {};

StepGraph::StepGraph(at::Device) {
  fail(ErrorCode::kArgument, "a CUDA graph needs a libtorch with CUDA");
}

LossTensors StepGraph::run(int, const StepInput& input, const Work& work) { return work(input); }

#endif

StepGraph::~StepGraph() = default;

}  // namespace flipside
