#pragma once

#include <cstdint>

#include "flipside/model/clones.h"

// What the kernels' loops over channels are written with. For their own files only, and all of it
// inlined there: files that are compiled for other processors must not share code.

#define FLIPSIDE_INLINE __attribute__((always_inline)) inline
#define FLIPSIDE_INLINED __attribute__((always_inline))  // of a lambda
// Vectors are passed and returned only between the inlined functions of this file, so how a calling
// convention would hand them over (what GCC warns of where AVX is off) never matters.
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wpsabi"
#endif

namespace flipside::kernels {

constexpr int64_t kLanes = 8;

using BFloatBits = uint16_t;

// Eight floats at any address, and sixteen, and four; GCC and Clang split them where registers are
// narrower.
typedef float Lanes __attribute__((vector_size(4 * kLanes), aligned(4), may_alias));
typedef float WideLanes __attribute__((vector_size(8 * kLanes), aligned(4), may_alias));
typedef float FewLanes __attribute__((vector_size(2 * kLanes), aligned(4), may_alias));

typedef uint32_t Words __attribute__((vector_size(4 * kLanes)));
typedef uint32_t WideWords __attribute__((vector_size(8 * kLanes)));
typedef uint16_t HalfWords __attribute__((vector_size(2 * kLanes), aligned(2), may_alias));
typedef uint16_t WideHalfWords __attribute__((vector_size(4 * kLanes), aligned(2), may_alias));

/// Names of the widths for templates (vector types themselves lose their attributes there).
struct Eight {
  static constexpr int64_t kCount = kLanes;
  using Floats = Lanes;
  using Bits = Words;
  using HalfBits = HalfWords;
};
struct Sixteen {
  static constexpr int64_t kCount = 2 * kLanes;
  using Floats = WideLanes;
  using Bits = WideWords;
  using HalfBits = WideHalfWords;
};

template <typename Width>
FLIPSIDE_INLINE typename Width::Floats load_as(const float* p) {
  return *reinterpret_cast<const typename Width::Floats*>(p);
}
template <typename Width>
FLIPSIDE_INLINE void store_as(float* p, typename Width::Floats value) {
  *reinterpret_cast<typename Width::Floats*>(p) = value;
}

// bfloat16 is the upper half of a float.
template <typename Width>
FLIPSIDE_INLINE typename Width::Floats load_as(const BFloatBits* p) {
#ifdef FLIPSIDE_NATIVE_BFLOAT16
  if constexpr (Width::kCount == Sixteen::kCount) {  // GCC would widen two halves and join them
    const auto bits = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
    // Masked, though of all: the plain one makes GCC 12 warn of a number that nobody reads.
    return (typename Width::Floats)((WideWords)_mm512_maskz_cvtepu16_epi32(0xffff, bits) << 16);
  }
#endif
  using Bits = typename Width::Bits;
  const auto bits = *reinterpret_cast<const typename Width::HalfBits*>(p);
  return (typename Width::Floats)(__builtin_convertvector(bits, Bits) << 16);
}
/// Rounds to the nearest, ties to even. (The NaN that arithmetic makes stays one.)
template <typename Width>
FLIPSIDE_INLINE typename Width::Bits round_to_bfloat16(const typename Width::Floats& value) {
  const auto bits = (typename Width::Bits)value;
  return (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
}
template <typename Width>
FLIPSIDE_INLINE void store_as(BFloatBits* p, typename Width::Floats value) {
  using HalfBits = typename Width::HalfBits;
#ifdef FLIPSIDE_NATIVE_BFLOAT16
  if constexpr (Width::kCount == Sixteen::kCount)
    *reinterpret_cast<HalfBits*>(p) = (HalfBits)_mm512_cvtneps_pbh((__m512)value);
  else
    *reinterpret_cast<HalfBits*>(p) = (HalfBits)_mm256_cvtneps_pbh((__m256)value);
#else
  *reinterpret_cast<HalfBits*>(p) =
      __builtin_convertvector(round_to_bfloat16<Width>(value), HalfBits);
#endif
}

/// Whether the clones that run have registers of sixteen floats. Where they have not, GCC keeps
/// such vectors in memory, and they take several times as long as two of eight.
FLIPSIDE_INLINE bool has_wide_registers() {
#if FLIPSIDE_HAS_CLONES
  return __builtin_cpu_supports("x86-64-v4");
#else
  return false;
#endif
}
/// And of eight, with multiplication and addition in one.
FLIPSIDE_INLINE bool has_registers_of_eight() {
#if FLIPSIDE_HAS_CLONES
  return __builtin_cpu_supports("x86-64-v3");
#else
  return false;
#endif
}

/// Whether the processor rounds to bfloat16, and multiplies pairs of it, by itself.
FLIPSIDE_INLINE bool has_native_bfloat16() {
#if FLIPSIDE_HAS_CLONES
  return __builtin_cpu_supports("avx512bf16");
#else
  return false;
#endif
}

/// Pixels side by side, `channels` values each, a multiple of kLanes: float, or bfloat16 (as its
/// bits), and computed with as float.
template <typename Value>
struct Block {
  const Value* x;
  int64_t pixels, channels;
};

/// Runs `kernel.tile<Width>(c)` over all channels (a multiple of 8), sixteen at a time from c on
/// where registers hold them, or eight.
template <typename Kernel>
FLIPSIDE_INLINE void for_widths(const Kernel& kernel, int64_t channels) {
  int64_t c = 0;
  if (has_wide_registers())
    for (; c + Sixteen::kCount <= channels; c += Sixteen::kCount) kernel.template tile<Sixteen>(c);
  for (; c + Eight::kCount <= channels; c += Eight::kCount) kernel.template tile<Eight>(c);
}

/// Runs `kernel.tile<Width, V>(c)` over all channels, V vectors of them at a time from c on: so
/// many fit the registers together with what a kernel keeps per channel.
template <typename Kernel>
FLIPSIDE_INLINE void for_tiles(const Kernel& kernel, int64_t channels) {
  int64_t c = 0;
  if (has_wide_registers()) {
    for (; c + 2 * Sixteen::kCount <= channels; c += 2 * Sixteen::kCount)
      kernel.template tile<Sixteen, 2>(c);
    for (; c + Sixteen::kCount <= channels; c += Sixteen::kCount)
      kernel.template tile<Sixteen, 1>(c);
  }
  for (; c + 2 * kLanes <= channels; c += 2 * kLanes) kernel.template tile<Eight, 2>(c);
  for (; c + kLanes <= channels; c += kLanes) kernel.template tile<Eight, 1>(c);
}

}  // namespace flipside::kernels
