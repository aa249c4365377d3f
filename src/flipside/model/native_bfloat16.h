#pragma once

#include <utility>  // before the pragma, as all that other files share

#include "flipside/model/clones.h"

// For files whose loops are compiled for AVX-512 with bfloat16 alone, where the compiler can, and
// run only where `has_native_bfloat16()`: no clones. Elsewhere the loops are written out. To be
// included before `lanes.h`, whose code it changes, so that such files are no part of a unity
// build.
#if FLIPSIDE_HAS_CLONES
#include <immintrin.h>
#pragma GCC target("avx2,fma,avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")
#define FLIPSIDE_NATIVE_BFLOAT16 1
#endif
