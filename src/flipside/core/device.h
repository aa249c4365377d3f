#pragma once

#include <c10/core/Device.h>

#include <cstdint>

namespace flipside {

/// Processors this process may run on (its affinity mask), at least 1.
int available_processors();

/// Threads where nobody asks for a number: that of the environment variable OMP_NUM_THREADS, by
/// which launchers and batch systems share a machine, else one per available processor.
int default_threads();

/// To be called once, first in `main`: sets libtorch's threads (0: `default_threads()`) and tells
/// the C library to keep freed tensors, on huge pages, instead of giving them back to the kernel,
/// which otherwise costs a fifth of the training time in page faults, and a tenth of the
/// convolutions' time in misses of the address cache. OpenBLAS, where libtorch uses it, is kept to
/// one thread, since its others would spin on the convolutions' processors.
void configure_runtime(int threads = 0);

/// Where the networks compute.
enum class DeviceChoice {
  kAuto,  ///< the GPU where there is one that can be used, else the processor
  kCpu,
  kCuda,
};

/// True when this program was built against a libtorch with CUDA and a GPU can be used.
bool has_cuda();

/// The device that is meant, prepared for work on images of one size. Throws `Error(kUsage)` where
/// CUDA is asked for and the program or the machine has none; the message says what to do.
/// `local_rank`: among the processes of this machine that share the work; they take its GPUs in
/// turn.
at::Device resolve_device(DeviceChoice choice, int64_t local_rank = 0);

/// True when the device multiplies bfloat16 numbers natively, which is twice as fast.
bool has_fast_bfloat16(at::Device device = at::kCPU);

/// While it lives, this thread treats tensors on the CPU as tensors elsewhere: it takes libtorch's
/// operators and not the fused nodes written for the processor. So the tests see the GPU's path.
class PlainOperators {
 public:
  PlainOperators();
  ~PlainOperators();
  PlainOperators(const PlainOperators&) = delete;
  PlainOperators& operator=(const PlainOperators&) = delete;

 private:
  bool before_;
};

/// Whether nodes written for the processor may work on tensors of this device.
bool takes_fused_nodes(at::Device device);

/// Largest resident memory of this process so far, in bytes.
int64_t peak_memory();

/// Page faults that needed no disk, of this process so far.
int64_t minor_page_faults();

}  // namespace flipside
