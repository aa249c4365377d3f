#pragma once
// As much of CUDA C++ as the project's kernels use, for the processor: a block's threads are
// threads, blocks come one after the other. A test that includes this and then a .cu file runs its
// kernels without a GPU, with the sanitizers watching. Slow: a few blocks are enough for a test.

#include <algorithm>
#include <cmath>
#include <condition_variable>
#include <cstdint>
#include <cstring>
#include <mutex>
#include <thread>
#include <vector>

#define __global__
#define __device__
#define __shared__ static  // blocks take turns with it

using std::max;
using std::min;

struct dim3 {
  unsigned x = 1, y = 1;
};
struct float2 {
  float x, y;
};
struct float4 {
  float x, y, z, w;
};
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
inline double rsqrt(double x) { return 1 / std::sqrt(x); }

struct __nv_bfloat16 {
  uint16_t bits;
  explicit operator float() const {
    const uint32_t wide = uint32_t{bits} << 16;
    float value;
    std::memcpy(&value, &wide, sizeof value);
    return value;
  }
};
struct __nv_bfloat162 {
  __nv_bfloat16 x, y;
};
inline float2 __bfloat1622float2(__nv_bfloat162 pair) {
  return {static_cast<float>(pair.x), static_cast<float>(pair.y)};
}
/// To the nearest, of two as near to the even one.
inline __nv_bfloat162 __floats2bfloat162_rn(float x, float y) {
  const auto round = [](float value) {
    uint32_t wide;
    std::memcpy(&wide, &value, sizeof wide);
    return __nv_bfloat16{static_cast<uint16_t>((wide + 0x7fff + ((wide >> 16) & 1)) >> 16)};
  };
  return {round(x), round(y)};
}

/// Where a block's threads wait for each other; those that have returned are not waited for.
class BlockBarrier {
 public:
  explicit BlockBarrier(int threads) : threads_(threads) {}
  void wait() {
    std::unique_lock<std::mutex> lock(mutex_);
    const int64_t round = round_;
    ++waiting_;
    if (!release()) passed_.wait(lock, [&] { return round_ != round; });
  }
  void leave() {
    const std::lock_guard<std::mutex> lock(mutex_);
    --threads_;
    release();
  }

 private:
  bool release() {
    if (waiting_ < threads_) return false;
    waiting_ = 0;
    ++round_;
    passed_.notify_all();
    return true;
  }

  std::mutex mutex_;
  std::condition_variable passed_;
  int threads_, waiting_ = 0;
  int64_t round_ = 0;
};

inline thread_local dim3 threadIdx, blockIdx;
inline dim3 blockDim, gridDim;
inline BlockBarrier* block_barrier = nullptr;
inline double shuffled[1024];

inline void __syncthreads() { block_barrier->wait(); }
/// Here the whole block takes part, and not its warps by themselves.
inline double __shfl_xor_sync(unsigned, double value, int lane_mask) {
  shuffled[threadIdx.x] = value;
  block_barrier->wait();
  const double other = shuffled[threadIdx.x ^ static_cast<unsigned>(lane_mask)];
  block_barrier->wait();
  return other;
}

/// In place of kernel<<<grid, threads, 0, stream>>>(arguments...).
template <typename Kernel, typename... Arguments>
void launch(Kernel kernel, dim3 grid, int threads, void* /*stream*/, Arguments... arguments) {
  gridDim = grid;
  blockDim = {static_cast<unsigned>(threads), 1};
  for (unsigned y = 0; y < grid.y; ++y)
    for (unsigned x = 0; x < grid.x; ++x) {
      BlockBarrier barrier(threads);
      block_barrier = &barrier;
      std::vector<std::thread> block;
      for (unsigned i = 0; i < blockDim.x; ++i)
        block.emplace_back([=, &barrier] {
          threadIdx = {i, 0};
          blockIdx = {x, y};
          kernel(arguments...);
          barrier.leave();
        });
      for (auto& thread : block) thread.join();
    }
}
