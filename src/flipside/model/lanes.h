#pragma once

#include <cstdint>

// What the kernels' loops over channels are written with. For their own files only.

// Compiled once for any x86-64 and once for AVX2, chosen when the program starts. (The choice runs
// before the sanitizers' own start, so their builds go without.)
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && \
    !defined(__SANITIZE_ADDRESS__)
#define FLIPSIDE_CLONES __attribute__((target_clones("avx2", "default")))
#else
#define FLIPSIDE_CLONES
#endif
#define FLIPSIDE_INLINE __attribute__((always_inline)) inline
// Vectors are passed and returned only between the inlined functions of this file, so how a calling
// convention would hand them over (what GCC warns of where AVX is off) never matters.
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wpsabi"
#endif

namespace flipside::kernels {

constexpr int64_t kLanes = 8;

using BFloatBits = uint16_t;

// Eight floats at any address; GCC and Clang split it where registers are narrower.
typedef float Lanes __attribute__((vector_size(4 * kLanes), aligned(4), may_alias));

typedef uint32_t Words __attribute__((vector_size(4 * kLanes)));
typedef uint16_t HalfWords __attribute__((vector_size(2 * kLanes), aligned(2), may_alias));

FLIPSIDE_INLINE Lanes load(const float* p) { return *reinterpret_cast<const Lanes*>(p); }
FLIPSIDE_INLINE void store(float* p, Lanes value) { *reinterpret_cast<Lanes*>(p) = value; }

// bfloat16 is the upper half of a float.
FLIPSIDE_INLINE Lanes load(const BFloatBits* p) {
  const HalfWords bits = *reinterpret_cast<const HalfWords*>(p);
  return (Lanes)(__builtin_convertvector(bits, Words) << 16);
}
/// Rounds to the nearest, ties to even. (The NaN that arithmetic makes stays one.)
FLIPSIDE_INLINE void store(BFloatBits* p, Lanes value) {
  const Words bits = (Words)value;
  const Words rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
  *reinterpret_cast<HalfWords*>(p) = __builtin_convertvector(rounded, HalfWords);
}

/// Runs `kernel.tile<V>(c)` over all channels, V * kLanes of them at a time from c on: so many fit
/// the registers together with what a kernel keeps per channel.
template <typename Kernel>
FLIPSIDE_INLINE void for_tiles(const Kernel& kernel, int64_t channels) {
  int64_t c = 0;
  for (; c + 2 * kLanes <= channels; c += 2 * kLanes) kernel.template tile<2>(c);
  for (; c + kLanes <= channels; c += kLanes) kernel.template tile<1>(c);
}

}  // namespace flipside::kernels
