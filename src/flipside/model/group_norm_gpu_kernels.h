#pragma once
// What group_norm_gpu_kernels.cu is called by: plain numbers and pointers to the GPU's memory,
// since nvcc need not read libtorch's headers. All arrays dense; all work is given to `stream`.

#include <cstdint>

struct CUstream_st;  // *cudaStream_t

namespace flipside::gpu {

constexpr int64_t kOctet = 8;  ///< channels that a thread takes at once, and those of a group

/// The sizes of one call on x [samples,channels,H,W], channels_last; pixels = H W. Groups are of
/// `kOctet` channels.
struct NormSizes {
  int64_t samples, pixels, channels;
  int64_t groups() const { return channels / kOctet; }
};

enum class NormType { kFloat, kBFloat16 };

/// Everything that both directions read. `gain` and `bias` have a row of `channels` per sample, the
/// rows `gain_stride` and `bias_stride` numbers apart (0: one row for all).
struct NormCall {
  NormSizes sizes;
  NormType type;  ///< of x, y, dy, dx; the rest is float32
  const void* x;
  const float *gain, *bias;
  int64_t gain_stride, bias_stride;
  float *mean, *rstd;  ///< [samples,groups]
  float slope;
  CUstream_st* stream;
};

/// Numbers that `scratch` of both functions must have room for.
int64_t norm_scratch(const NormSizes& sizes);

/// Fills `call.mean`, `call.rstd` and `y` (as x).
void norm_forward(const NormCall& call, float eps, float* scratch, void* y);

/// Fills `dgain` and `dbias` [samples,channels] and, where not null, `dx` (as x).
void norm_backward(const NormCall& call, const void* dy, float* scratch, float* dgain, float* dbias,
                   void* dx);

}  // namespace flipside::gpu
