#include "flipside/core/device.h"

#include <malloc.h>
#include <sched.h>
#include <sys/resource.h>

#include <algorithm>

#include "flipside/core/error.h"
#include "flipside/core/torch.h"
#ifdef FLIPSIDE_CUDA
#include <ATen/cuda/CUDAContext.h>
#include <c10/cuda/CUDAFunctions.h>
#endif

namespace flipside {
namespace {

thread_local bool plain_operators = false;

}  // namespace

int available_processors() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof(set), &set) != 0) return 1;
  return std::max(1, CPU_COUNT(&set));
}

void configure_runtime(int threads) {
  constexpr int kNever = 1 << 30;  // bytes; mallopt takes an int
  mallopt(M_MMAP_THRESHOLD, kNever);
  mallopt(M_TRIM_THRESHOLD, kNever);
  mallopt(M_TOP_PAD, 64 << 20);
  at::set_num_threads(threads > 0 ? threads : available_processors());
}

bool has_cuda() {
#ifdef FLIPSIDE_CUDA
  return torch::cuda::is_available();
#else
  return false;
#endif
}

at::Device resolve_device(DeviceChoice choice) {
  if (choice == DeviceChoice::kCpu || (choice == DeviceChoice::kAuto && !has_cuda()))
    return at::kCPU;
#ifdef FLIPSIDE_CUDA
  if (!has_cuda())
    fail(ErrorCode::kUsage,
         "device = cuda: no GPU can be used here; see whether nvidia-smi lists one and what "
         "CUDA_VISIBLE_DEVICES says, or choose --device cpu");
  // Batches are of one size, so that trying out all convolution algorithms pays. float32 means
  // float32: who wants less digits asks for --precision bfloat16.
  at::globalContext().setBenchmarkCuDNN(true);
  at::globalContext().setAllowTF32CuDNN(false);
  return at::Device(at::kCUDA, c10::cuda::current_device());
#else
  fail(ErrorCode::kUsage,
       "device = cuda: this flipside was built against a libtorch without CUDA; build it against "
       "one with CUDA (docs/gpu.md), or choose --device cpu");
#endif
}

bool has_fast_bfloat16(at::Device device) {
#ifdef FLIPSIDE_CUDA
  constexpr int kAmpere = 8;  // the first compute capability that has it
  if (device.is_cuda()) return at::cuda::getDeviceProperties(device.index())->major >= kAmpere;
#endif
#if defined(__x86_64__) && defined(__GNUC__)
  return __builtin_cpu_supports("avx512bf16") != 0;
#else
  return false;
#endif
}

PlainOperators::PlainOperators() : before_(plain_operators) { plain_operators = true; }

PlainOperators::~PlainOperators() { plain_operators = before_; }

bool takes_fused_nodes(at::Device device) { return device.is_cpu() && !plain_operators; }

int64_t peak_memory() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<int64_t>(usage.ru_maxrss) * 1024;
}

int64_t minor_page_faults() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return usage.ru_minflt;
}

}  // namespace flipside
