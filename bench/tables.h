#pragma once

#include <cstdint>

namespace flipside {

/// Prints what this machine's convolutions allow and what the training step and the explanation of
/// the default networks take, at 64, 128 and 256 px, in float32 and (where it is fast) bfloat16.
void print_limits();

/// Prints where the time of the default training step goes, operator by operator.
void print_operators(int64_t size, int64_t batch, bool bfloat16);

/// Prints memory and page faults of 2,000 training steps (batch 16) and 10,000 explained images of
/// `size` pixels: flat after the start.
void print_memory(int64_t size);

}  // namespace flipside
