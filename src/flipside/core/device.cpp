#include "flipside/core/device.h"

#include <dlfcn.h>
#include <malloc.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>

#include "flipside/core/error.h"
#include "flipside/core/torch.h"
#ifdef FLIPSIDE_CUDA
#include <ATen/cuda/CUDAContext.h>
#include <c10/cuda/CUDAFunctions.h>
#endif

namespace flipside {
namespace {

thread_local bool plain_operators = false;

/// Makes the C library keep what it has, in one heap that all threads share, and the kernel back
/// that heap with huge pages: a tensor that is used again then costs neither page faults nor,
/// while it is read, misses of the address cache. The heap's address range is reserved ahead, since
/// the kernel must be asked for huge pages before memory is touched; memory is only used when it
/// is. (A sanitizer brings its own heap.)
void keep_one_heap() {
#if !defined(__SANITIZE_ADDRESS__)
  constexpr int64_t kReserve = int64_t{4} << 30;  // bytes; beyond them pages are small
  mallopt(M_ARENA_MAX, 1);
  mallopt(M_MMAP_MAX, 0);
  mallopt(M_TRIM_THRESHOLD, -1);
  mallopt(M_TOP_PAD, 64 << 20);
  const int64_t page = sysconf(_SC_PAGESIZE), memory = sysconf(_SC_PHYS_PAGES) * page;
  const int64_t reserve = std::min(kReserve, memory / 2);
  void* const begin = sbrk(0);
  void* volatile block = std::malloc(reserve);  // volatile: else the compiler drops the pair
  // Not asked of the pointer, since the C library may have had to place the block elsewhere.
  void* const end = sbrk(0);
  std::free(block);
  const auto first = (reinterpret_cast<uintptr_t>(begin) + page - 1) / page * page;
  const auto last = reinterpret_cast<uintptr_t>(end);
  if (last > first) madvise(reinterpret_cast<void*>(first), last - first, MADV_HUGEPAGE);
#endif
}

/// OpenBLAS waits for work by spinning on threads of its own. The products here are too small for
/// them, and each would leave those threads on the processors that the convolutions need: a single
/// image took 3 to 10 times as long.
void keep_blas_to_one_thread() {
  using SetThreads = void (*)(int);
  if (void* const set = dlsym(RTLD_DEFAULT, "openblas_set_num_threads"))
    reinterpret_cast<SetThreads>(set)(1);
}

}  // namespace

int available_processors() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof(set), &set) != 0) return 1;
  return std::max(1, CPU_COUNT(&set));
}

int default_threads() {
  const char* const text = std::getenv("OMP_NUM_THREADS");
  const int asked = text ? std::atoi(text) : 0;  // the first one of a list
  return asked > 0 ? asked : available_processors();
}

void configure_runtime(int threads) {
  keep_one_heap();
  keep_blas_to_one_thread();
  at::set_num_threads(threads > 0 ? threads : default_threads());
}

bool has_cuda() {
#ifdef FLIPSIDE_CUDA
  return torch::cuda::is_available();
#else
  return false;
#endif
}

at::Device resolve_device(DeviceChoice choice, [[maybe_unused]] int64_t local_rank) {
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
  if (local_rank > 0)
    c10::cuda::set_device(static_cast<c10::DeviceIndex>(local_rank % c10::cuda::device_count()));
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
