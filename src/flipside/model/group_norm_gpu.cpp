#include "flipside/model/group_norm_gpu.h"

#ifdef FLIPSIDE_CUDA
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

#include "flipside/model/group_norm_gpu_kernels.h"
#endif

namespace flipside {

using torch::autograd::tensor_list;

#ifdef FLIPSIDE_CUDA

namespace {

constexpr int64_t kMostChannels = 2048;  // a block's threads take one pixel's channels at least

/// Its rows dense, all of them or one that stands for all.
Tensor with_dense_rows(const Tensor& weight) {
  return weight.stride(1) == 1 ? weight : weight.contiguous();
}

gpu::NormCall call_of(const GpuNorm& n, const Tensor& gain, const Tensor& bias) {
  const Tensor& x = n.x;
  return {{x.size(0), x.size(2) * x.size(3), x.size(1)},
          x.scalar_type() == at::kFloat ? gpu::NormType::kFloat : gpu::NormType::kBFloat16,
          x.data_ptr(),
          gain.data_ptr<float>(),
          bias.data_ptr<float>(),
          gain.stride(0),
          bias.stride(0),
          n.mean.data_ptr<float>(),
          n.rstd.data_ptr<float>(),
          static_cast<float>(n.slope),
          c10::cuda::getCurrentCUDAStream(x.device().index())};
}

Tensor scratch_for(const gpu::NormCall& call, const Tensor& like) {
  return at::empty({gpu::norm_scratch(call.sizes)}, like.options());
}

}  // namespace

bool has_gpu_norm(const Tensor& x, int64_t groups) {
  return x.is_cuda() && x.numel() > 0 && x.size(1) == groups * gpu::kOctet &&
         x.size(1) <= kMostChannels;
}

Tensor GpuNorm::forward(double eps) const {
  const c10::cuda::CUDAGuard guard(x.device());
  const Tensor gains = with_dense_rows(gain), biases = with_dense_rows(bias);
  const gpu::NormCall call = call_of(*this, gains, biases);
  Tensor y = at::empty(x.sizes(), x.options(), kChannelsLast);
  Tensor scratch = scratch_for(call, mean);
  gpu::norm_forward(call, static_cast<float>(eps), scratch.data_ptr<float>(), y.data_ptr());
  C10_CUDA_KERNEL_LAUNCH_CHECK();
  return y;
}

tensor_list GpuNorm::backward(const Tensor& dy, bool needs_input) const {
  const c10::cuda::CUDAGuard guard(x.device());
  const Tensor gains = with_dense_rows(gain), biases = with_dense_rows(bias);
  const gpu::NormCall call = call_of(*this, gains, biases);
  Tensor dx;
  if (needs_input) dx = at::empty(x.sizes(), x.options(), kChannelsLast);
  Tensor dgain = at::empty(gain.sizes(), gain.options());
  Tensor dbias = at::empty(bias.sizes(), bias.options());
  Tensor scratch = scratch_for(call, mean);
  gpu::norm_backward(call, dy.data_ptr(), scratch.data_ptr<float>(), dgain.data_ptr<float>(),
                     dbias.data_ptr<float>(), needs_input ? dx.data_ptr() : nullptr);
  C10_CUDA_KERNEL_LAUNCH_CHECK();
  return {dx, dgain, dbias};
}

#else

bool has_gpu_norm(const Tensor&, int64_t) { return false; }

Tensor GpuNorm::forward(double) const { TORCH_CHECK(false, "a libtorch without CUDA"); }

tensor_list GpuNorm::backward(const Tensor&, bool) const {
  TORCH_CHECK(false, "a libtorch without CUDA");
}

#endif

}  // namespace flipside
