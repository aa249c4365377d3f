#pragma once

// Whether and how the kernels' loops are compiled for several processors.

// Compiled once for any x86-64, once for AVX2 with FMA and once for AVX-512, chosen when the
// program starts. (The choice runs before the sanitizers' own start, so their builds go without.)
#if defined(__x86_64__) && defined(__GNUC__) && __GNUC__ >= 12 && !defined(__clang__) && \
    !defined(__SANITIZE_ADDRESS__)
#define FLIPSIDE_HAS_CLONES 1
#define FLIPSIDE_CLONES \
  __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define FLIPSIDE_HAS_CLONES 0
#define FLIPSIDE_CLONES
#endif
