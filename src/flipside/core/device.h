#pragma once

#include <cstdint>

#include "flipside/core/torch.h"

namespace flipside {

/// Processors this process may run on (its affinity mask), at least 1.
int available_processors();

/// To be called once, first in `main`: sets libtorch's threads (0: one per available processor)
/// and tells the C library to keep freed tensors, on huge pages, instead of giving them back to the
/// kernel, which otherwise costs a fifth of the training time in page faults, and a tenth of the
/// convolutions' time in misses of the address cache.
void configure_runtime(int threads = 0);

/// True when the processor multiplies bfloat16 numbers natively, which is twice as fast.
bool has_fast_bfloat16();

/// Largest resident memory of this process so far, in bytes.
int64_t peak_memory();

/// Page faults that needed no disk, of this process so far.
int64_t minor_page_faults();

}  // namespace flipside
