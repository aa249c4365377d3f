#pragma once

#include "flipside/model/winograd_kernels.h"

namespace flipside::kernels {

/// Whether the processor multiplies whole tiles of bfloat16 (Intel's AMX), and the system lets this
/// process.
bool has_amx();

/// `multiply` by them. Either neighbours along the depth lie side by side in `left` (its `depth` is
/// 1), or its rows do (its `row` is 1).
void multiply_by_amx(const Shape& shape, const LeftOf<Pair>& left, const RightOf<Pair>& right,
                     const Sum& sum, bool adds, const Points& points);

/// `convolve` by them.
void convolve_by_amx(const ConvRows& conv, const Pair* in, const Pair* panels, float* sums);

}  // namespace flipside::kernels
