// Group normalisation, gain, bias and LeakyReLU of channels_last images in two passes over memory
// forward (moments; values) and two backward (sums; values). A thread takes eight channels of a
// pixel at once, which are one group and 16 bytes of bfloat16. Sums go from threads over blocks to
// samples in a fixed order, without atomics: the same input gives the same bits.
//
// The tests run these kernels on the processor too (tests/support/cuda_on_cpu.h).

#ifdef __CUDACC__
#include <cuda_bf16.h>
#define FLIPSIDE_UNROLL _Pragma("unroll")
#else
#define FLIPSIDE_UNROLL
#endif

#include "flipside/model/group_norm_gpu_kernels.h"

namespace flipside::gpu {
namespace {

constexpr int kThreads = 256;        // of a block, of which those that make whole pixels work
constexpr int kPixelsPerThread = 8;  // enough to hide the block's reduction
constexpr int kWarp = 32;

#ifdef __CUDACC__
template <typename... Parameters, typename... Arguments>
void launch(void (*kernel)(Parameters...), dim3 grid, int threads, cudaStream_t stream,
            Arguments... arguments) {
  kernel<<<grid, threads, 0, stream>>>(arguments...);
}
#endif

struct alignas(16) HalfOctet {
  __nv_bfloat162 pairs[4];
};

__device__ void load(const __nv_bfloat16* from, float (&to)[kOctet]) {
  const HalfOctet octet = *reinterpret_cast<const HalfOctet*>(from);
  FLIPSIDE_UNROLL for (int i = 0; i < 4; ++i) {
    const float2 pair = __bfloat1622float2(octet.pairs[i]);
    to[2 * i] = pair.x;
    to[2 * i + 1] = pair.y;
  }
}

__device__ void load(const float* from, float (&to)[kOctet]) {
  const auto* fours = reinterpret_cast<const float4*>(from);
  FLIPSIDE_UNROLL for (int i = 0; i < 2; ++i) {
    const float4 four = fours[i];
    to[4 * i] = four.x;
    to[4 * i + 1] = four.y;
    to[4 * i + 2] = four.z;
    to[4 * i + 3] = four.w;
  }
}

__device__ void store(const float (&from)[kOctet], __nv_bfloat16* to) {
  HalfOctet octet;
  FLIPSIDE_UNROLL for (int i = 0; i < 4; ++i) {
    octet.pairs[i] = __floats2bfloat162_rn(from[2 * i], from[2 * i + 1]);
  }
  *reinterpret_cast<HalfOctet*>(to) = octet;
}

__device__ void store(const float (&from)[kOctet], float* to) {
  auto* fours = reinterpret_cast<float4*>(to);
  fours[0] = make_float4(from[0], from[1], from[2], from[3]);
  fours[1] = make_float4(from[4], from[5], from[6], from[7]);
}

/// Which channels and pixels a thread takes: block (chunk, sample), threads side by side over the
/// groups of a pixel, then over pixels.
struct Place {
  int groups, group, lane, lanes;
  int64_t sample, first, last;  // pixels [first,last) of the chunk

  __device__ explicit Place(const NormSizes& s)
      : groups(static_cast<int>(s.channels / kOctet)),
        group(static_cast<int>(threadIdx.x) % groups),
        lane(static_cast<int>(threadIdx.x) / groups),
        lanes(kThreads / groups),
        sample(blockIdx.y) {
    const int64_t chunk = static_cast<int64_t>(lanes) * kPixelsPerThread;
    first = blockIdx.x * chunk;
    last = min(first + chunk, s.pixels);
  }
  __device__ bool works() const { return lane < lanes; }
  __device__ int64_t offset(const NormSizes& s, int64_t pixel) const {
    return (sample * s.pixels + pixel) * s.channels + group * kOctet;
  }
};

/// Sums `values` of the threads of one group; the thread of lane 0 has the sum. All threads of the
/// block call it; `shared` [Count][kThreads].
template <int Count>
__device__ void sum_lanes(const Place& place, float (&values)[Count], float* shared) {
  FLIPSIDE_UNROLL for (int i = 0; i < Count; ++i) shared[i * kThreads + threadIdx.x] = values[i];
  __syncthreads();
  for (int half = kThreads / 2; half > 0; half /= 2) {
    if (place.lane < half && place.lane + half < place.lanes) {
      FLIPSIDE_UNROLL for (int i = 0; i < Count; ++i) {
        float* const mine = shared + i * kThreads + threadIdx.x;
        *mine += mine[half * place.groups];
      }
    }
    __syncthreads();
  }
  FLIPSIDE_UNROLL for (int i = 0; i < Count; ++i) values[i] = shared[i * kThreads + threadIdx.x];
}

/// A number near the group's mean, so that the sums of squares lose no digits: its first value.
template <typename Value>
__device__ float pivot(const Value* x, const NormSizes& s, int64_t sample, int group) {
  return static_cast<float>(x[sample * s.pixels * s.channels + group * kOctet]);
}

/// parts [samples,chunks,groups,2]: sums of x - pivot and of its square.
template <typename Value>
__global__ void moments_kernel(NormSizes s, const Value* x, float* parts) {
  __shared__ float shared[2 * kThreads];
  const Place place(s);
  float sums[2] = {};
  if (place.works()) {
    const float around = pivot(x, s, place.sample, place.group);
    for (int64_t p = place.first + place.lane; p < place.last; p += place.lanes) {
      float v[kOctet];
      load(x + place.offset(s, p), v);
      FLIPSIDE_UNROLL for (int i = 0; i < kOctet; ++i) {
        const float apart = v[i] - around;
        sums[0] += apart;
        sums[1] += apart * apart;
      }
    }
  }
  sum_lanes(place, sums, shared);
  if (place.lane != 0) return;
  float* const out =
      parts + ((place.sample * gridDim.x + blockIdx.x) * place.groups + place.group) * 2;
  out[0] = sums[0];
  out[1] = sums[1];
}

/// The sum of `parts[i * step]` over i in [0,count) by one warp, in every thread of it.
__device__ double sum_parts(const float* parts, int64_t count, int64_t step) {
  double sum = 0;
  for (int64_t i = threadIdx.x % kWarp; i < count; i += kWarp) sum += parts[i * step];
  FLIPSIDE_UNROLL for (int other = kWarp / 2; other > 0; other /= 2) {
    sum += __shfl_xor_sync(0xffffffffu, sum, other);
  }
  return sum;
}

/// One warp per group: mean and 1 / sqrt(variance + eps) from the chunks' sums.
template <typename Value>
__global__ void statistics_kernel(NormSizes s, const Value* x, const float* parts, int64_t chunks,
                                  float eps, float* mean, float* rstd) {
  const int64_t groups = s.channels / kOctet;
  const int64_t at = (static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x) / kWarp;
  if (at >= s.samples * groups) return;
  const int64_t sample = at / groups, group = at % groups;
  const float* const own = parts + (sample * chunks * groups + group) * 2;
  const double count = static_cast<double>(s.pixels) * kOctet;
  const double apart = sum_parts(own, chunks, 2 * groups) / count;
  const double squares = sum_parts(own + 1, chunks, 2 * groups) / count;
  if (threadIdx.x % kWarp != 0) return;
  const double variance = max(squares - apart * apart, 0.0);
  mean[at] = static_cast<float>(pivot(x, s, sample, static_cast<int>(group)) + apart);
  rstd[at] = static_cast<float>(rsqrt(variance + eps));
}

/// The normalisation of a thread's channels: xhat = (x - mean) rstd, z = xhat gain + bias.
struct Affine {
  float mean, rstd, gain[kOctet], bias[kOctet];

  __device__ Affine(const Place& place, const NormCall& c)
      : mean(c.mean[place.sample * place.groups + place.group]),
        rstd(c.rstd[place.sample * place.groups + place.group]) {
    load(c.gain + place.sample * c.gain_stride + place.group * kOctet, gain);
    load(c.bias + place.sample * c.bias_stride + place.group * kOctet, bias);
  }
};

template <typename Value>
__global__ void values_kernel(NormCall c, Value* y) {
  const NormSizes& s = c.sizes;
  const auto* x = static_cast<const Value*>(c.x);
  const Place place(s);
  if (!place.works()) return;
  const Affine affine(place, c);
  for (int64_t p = place.first + place.lane; p < place.last; p += place.lanes) {
    const int64_t offset = place.offset(s, p);
    float v[kOctet];
    load(x + offset, v);
    FLIPSIDE_UNROLL for (int i = 0; i < kOctet; ++i) {
      const float z = (v[i] - affine.mean) * affine.rstd * affine.gain[i] + affine.bias[i];
      v[i] = z > 0 ? z : c.slope * z;
    }
    store(v, y + offset);
  }
}

/// xhat of a pixel and the gradient g of z, from x and dy.
template <typename Value>
__device__ void before_activation(const Affine& affine, const Value* x, const Value* dy,
                                  float slope, float (&xhat)[kOctet], float (&g)[kOctet]) {
  load(x, xhat);
  load(dy, g);
  FLIPSIDE_UNROLL for (int i = 0; i < kOctet; ++i) {
    xhat[i] = (xhat[i] - affine.mean) * affine.rstd;
    if (!(xhat[i] * affine.gain[i] + affine.bias[i] > 0)) g[i] *= slope;
  }
}

/// parts [samples,chunks,channels,2]: sums of g (dbias) and of g xhat (dgain).
template <typename Value>
__global__ void gradient_sums_kernel(NormCall c, const Value* dy, float* parts) {
  __shared__ float shared[2 * kOctet * kThreads];
  const NormSizes& s = c.sizes;
  const auto* x = static_cast<const Value*>(c.x);
  const Place place(s);
  float sums[2 * kOctet] = {};
  if (place.works()) {
    const Affine affine(place, c);
    for (int64_t p = place.first + place.lane; p < place.last; p += place.lanes) {
      const int64_t offset = place.offset(s, p);
      float xhat[kOctet], g[kOctet];
      before_activation(affine, x + offset, dy + offset, c.slope, xhat, g);
      FLIPSIDE_UNROLL for (int i = 0; i < kOctet; ++i) {
        sums[2 * i] += g[i];
        sums[2 * i + 1] += g[i] * xhat[i];
      }
    }
  }
  sum_lanes(place, sums, shared);
  if (place.lane != 0) return;
  float* const out =
      parts + ((place.sample * gridDim.x + blockIdx.x) * s.channels + place.group * kOctet) * 2;
  FLIPSIDE_UNROLL for (int i = 0; i < 2 * kOctet; ++i) out[i] = sums[i];
}

/// One warp per channel: its gradients of gain and bias.
__global__ void gain_gradient_kernel(NormSizes s, const float* parts, int64_t chunks, float* dgain,
                                     float* dbias) {
  const int64_t at = (static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x) / kWarp;
  if (at >= s.samples * s.channels) return;
  const int64_t sample = at / s.channels, channel = at % s.channels;
  const float* const own = parts + (sample * chunks * s.channels + channel) * 2;
  const double plain = sum_parts(own, chunks, 2 * s.channels);
  const double scaled = sum_parts(own + 1, chunks, 2 * s.channels);
  if (threadIdx.x % kWarp != 0) return;
  dbias[at] = static_cast<float>(plain);
  dgain[at] = static_cast<float>(scaled);
}

/// With M elements in a group, S1 and S2 the sums of gain dbias and of gain dgain over it:
///   dx = rstd (gain g - (S1 + xhat S2) / M).
template <typename Value>
__global__ void input_gradient_kernel(NormCall c, const Value* dy, const float* dgain,
                                      const float* dbias, Value* dx) {
  const NormSizes& s = c.sizes;
  const auto* x = static_cast<const Value*>(c.x);
  const Place place(s);
  if (!place.works()) return;
  const Affine affine(place, c);
  const int64_t row = place.sample * s.channels + place.group * kOctet;
  float gains[kOctet], biases[kOctet], s1 = 0, s2 = 0;
  load(dgain + row, gains);
  load(dbias + row, biases);
  FLIPSIDE_UNROLL for (int i = 0; i < kOctet; ++i) {
    s1 += affine.gain[i] * biases[i];
    s2 += affine.gain[i] * gains[i];
  }
  const float count = static_cast<float>(s.pixels) * kOctet;
  s1 /= count;
  s2 /= count;
  for (int64_t p = place.first + place.lane; p < place.last; p += place.lanes) {
    const int64_t offset = place.offset(s, p);
    float xhat[kOctet], g[kOctet];
    before_activation(affine, x + offset, dy + offset, c.slope, xhat, g);
    FLIPSIDE_UNROLL for (int i = 0; i < kOctet; ++i) {
      g[i] = affine.rstd * (affine.gain[i] * g[i] - (s1 + xhat[i] * s2));
    }
    store(g, dx + offset);
  }
}

int64_t chunks_of(const NormSizes& s) {
  const int64_t chunk = kThreads / s.groups() * kPixelsPerThread;
  return (s.pixels + chunk - 1) / chunk;
}

dim3 grid_of(const NormSizes& s) {
  return {static_cast<unsigned>(chunks_of(s)), static_cast<unsigned>(s.samples)};
}

/// Blocks that give each of `count` sums a warp.
dim3 warps_of(int64_t count) {
  return {static_cast<unsigned>((count * kWarp + kThreads - 1) / kThreads), 1};
}

template <typename Value>
void forward_of(const NormCall& c, float eps, float* scratch, Value* y) {
  const NormSizes& s = c.sizes;
  const auto* x = static_cast<const Value*>(c.x);
  launch(moments_kernel<Value>, grid_of(s), kThreads, c.stream, s, x, scratch);
  launch(statistics_kernel<Value>, warps_of(s.samples * s.groups()), kThreads, c.stream, s, x,
         scratch, chunks_of(s), eps, c.mean, c.rstd);
  launch(values_kernel<Value>, grid_of(s), kThreads, c.stream, c, y);
}

template <typename Value>
void backward_of(const NormCall& c, const Value* dy, float* scratch, float* dgain, float* dbias,
                 Value* dx) {
  const NormSizes& s = c.sizes;
  launch(gradient_sums_kernel<Value>, grid_of(s), kThreads, c.stream, c, dy, scratch);
  launch(gain_gradient_kernel, warps_of(s.samples * s.channels), kThreads, c.stream, s, scratch,
         chunks_of(s), dgain, dbias);
  if (dx == nullptr) return;
  launch(input_gradient_kernel<Value>, grid_of(s), kThreads, c.stream, c, dy, dgain, dbias, dx);
}

}  // namespace

int64_t norm_scratch(const NormSizes& sizes) {
  return sizes.samples * chunks_of(sizes) * sizes.channels * 2;
}

void norm_forward(const NormCall& call, float eps, float* scratch, void* y) {
  if (call.type == NormType::kFloat)
    forward_of(call, eps, scratch, static_cast<float*>(y));
  else
    forward_of(call, eps, scratch, static_cast<__nv_bfloat16*>(y));
}

void norm_backward(const NormCall& call, const void* dy, float* scratch, float* dgain, float* dbias,
                   void* dx) {
  if (call.type == NormType::kFloat)
    backward_of(call, static_cast<const float*>(dy), scratch, dgain, dbias,
                static_cast<float*>(dx));
  else
    backward_of(call, static_cast<const __nv_bfloat16*>(dy), scratch, dgain, dbias,
                static_cast<__nv_bfloat16*>(dx));
}

}  // namespace flipside::gpu
