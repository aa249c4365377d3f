#pragma once

#include <cstdint>

namespace flipside {

/// Prints what this machine's convolutions allow and what the training step and the explanation of
/// the default networks take, at 64, 128 and 256 px, in float32 and (where it is fast) bfloat16.
void print_limits();

/// Prints where the time of the default training step goes, operator by operator.
void print_operators(int64_t size, int64_t batch, bool bfloat16);

}  // namespace flipside
