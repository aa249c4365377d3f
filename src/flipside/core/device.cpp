#include "flipside/core/device.h"

#include <malloc.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>

namespace flipside {
namespace {

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

}  // namespace

int available_processors() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof(set), &set) != 0) return 1;
  return std::max(1, CPU_COUNT(&set));
}

void configure_runtime(int threads) {
  keep_one_heap();
  at::set_num_threads(threads > 0 ? threads : available_processors());
}

bool has_fast_bfloat16() {
#if defined(__x86_64__) && defined(__GNUC__)
  return __builtin_cpu_supports("avx512bf16") != 0;
#else
  return false;
#endif
}

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
