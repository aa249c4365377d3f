#include "flipside/model/amx_kernels.h"
#include "flipside/model/native_bfloat16.h"
// Before the loops, for which processor they are compiled: without products of pairs they are
// slower than those of float32. Written out they are there for the tests.

#include "flipside/model/winograd_loops.h"

namespace flipside::kernels {
namespace {

/// Two vectors' bfloat16s in turn.
template <typename Width>
FLIPSIDE_INLINE typename Width::Bits paired(const typename Width::Floats& first,
                                            const typename Width::Floats& second) {
#ifdef FLIPSIDE_NATIVE_BFLOAT16
  if constexpr (Width::kCount == Sixteen::kCount) {
    const __m512i one_after_other = (__m512i)_mm512_cvtne2ps_pbh((__m512)second, (__m512)first);
    const __m512i in_turn =
        _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6,
                         21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    return (typename Width::Bits)_mm512_permutexvar_epi16(in_turn, one_after_other);
  }
#endif
  return round_to_bfloat16<Width>(first) | round_to_bfloat16<Width>(second) << 16;
}

template <typename Width>
struct RegisterOf {
  using Type = typename Width::Floats;
};
#ifdef FLIPSIDE_NATIVE_BFLOAT16
template <>
struct RegisterOf<Sixteen> {  // of its products' own type: others GCC keeps in memory between them
  using Type = __m512;
};
#endif

struct BFloat16 {
  using Element = Pair;
  template <typename Width>
  using Register = typename RegisterOf<Width>::Type;

  /// `right` is a vector of pairs, whatever it is called.
  template <typename Width>
  static FLIPSIDE_INLINE Register<Width> plus_product(Register<Width> sum, Pair left,
                                                      Register<Width> right) {
    using Floats = typename Width::Floats;
    using Bits = typename Width::Bits;
#ifdef FLIPSIDE_NATIVE_BFLOAT16
    if constexpr (Width::kCount == Sixteen::kCount) {
      const auto factor = (__m512bh)_mm512_set1_epi32(static_cast<int>(left));
      return _mm512_dpbf16_ps(sum, factor, (__m512bh)right);
    }
#endif
    const Bits factor = Bits{} + left, other = (Bits)right;
    constexpr uint32_t kUpper = 0xffff0000;
    return (Register<Width>)((Floats)sum + (Floats)(factor << 16) * (Floats)(other << 16) +
                             (Floats)(factor & kUpper) * (Floats)(other & kUpper));
  }
};

template <typename Width>
FLIPSIDE_INLINE void store_pairs(Pair* p, const typename Width::Floats& first,
                                 const typename Width::Floats& second) {
  store_as<Width>(reinterpret_cast<float*>(p),
                  (typename Width::Floats)paired<Width>(first, second));
}

template <typename Matrix>
struct ToPairedPoints {
  const Square &first, &second;
  const BFloatBits *first_values, *second_values;
  const PairedPoints& points;

  template <typename Width>
  FLIPSIDE_INLINE void tile(int64_t c) const {
    using Floats = typename Width::Floats;
    Floats of_first[Matrix::kOut * Matrix::kOut];
    times_both<Matrix, Floats>(
        [&](int i) FLIPSIDE_INLINED {
          return load_place<Width>(first.places[i], first_values + c, first.ahead);
        },
        [&](int i, const Floats& point) FLIPSIDE_INLINED { of_first[i] = point; });
    times_both<Matrix, Floats>(
        [&](int i) FLIPSIDE_INLINED {
          return load_place<Width>(second.places[i], second_values + c, second.ahead);
        },
        [&](int i, const Floats& point) FLIPSIDE_INLINED {
          store_pairs<Width>(points.pairs + i * first.step + c, of_first[i], point);
          if (!points.rows[0]) return;
          store_as<Width>(points.rows[0] + i * points.row_step + c, of_first[i]);
          store_as<Width>(points.rows[1] + i * points.row_step + c, point);
        });
  }
};

struct ToPairs {
  const float *first, *second;
  Pair* pairs;
  template <typename Width>
  FLIPSIDE_INLINE void tile(int64_t c) const {
    store_pairs<Width>(pairs + c, load_as<Width>(first + c), load_as<Width>(second + c));
  }
};

struct ToBFloat16 {
  const float* values;
  BFloatBits* rounded;
  template <typename Width>
  FLIPSIDE_INLINE void tile(int64_t c) const {
    store_as<Width>(rounded + c, load_as<Width>(values + c));
  }
};

}  // namespace

void to_points(Seen seen, int64_t taps, const Square& square, const BFloatBits* values,
               BFloatBits* points) {
  to_points_by(seen, taps, square, values, points);
}

void from_points(Seen seen, int64_t taps, const Square& square, const float* points,
                 BFloatBits* values) {
  from_points_by(seen, taps, square, points, values);
}

void to_paired_points(Seen seen, int64_t taps, const Square& first, const Square& second,
                      const BFloatBits* first_values, const BFloatBits* second_values,
                      const PairedPoints& points) {
  with_matrix(seen, taps, [&](auto matrix) FLIPSIDE_INLINED {
    using Squares = ToPairedPoints<decltype(matrix)>;
    for_widths(Squares{first, second, first_values, second_values, points}, first.count);
  });
}

void to_pairs(const float* numbers, int64_t rows, int64_t width, Pair* pairs) {
  for (int64_t row = 0; row < rows; row += 2, pairs += width)
    for_widths(ToPairs{numbers + row * width, numbers + (row + 1) * width, pairs}, width);
}

void to_bfloat16(const float* values, int64_t count, BFloatBits* rounded) {
  for_widths(ToBFloat16{values, rounded}, count);
}

void multiply(const Shape& shape, const LeftOf<Pair>& left, const RightOf<Pair>& right,
              const Sum& sum, bool adds, const Points& points) {
  if (has_amx()) return multiply_by_amx(shape, left, right, sum, adds, points);
  multiply_at<BFloat16>(shape, left, right, sum, adds, points);
}

void convolve(const ConvRows& conv, const Pair* in, const Pair* panels, float* sums) {
  if (has_amx()) return convolve_by_amx(conv, in, panels, sums);
  const int64_t line = conv.depth * kPanel;
  for (int64_t row = 0; row < conv.rows; ++row, sums += conv.pixels * conv.cols)
    for (int64_t i = 0; i < conv.lines; ++i)
      multiply_at<BFloat16>({conv.pixels, conv.depth, conv.cols},
                            LeftOf<Pair>{in + row * conv.row + i * conv.line, conv.pixel, 1},
                            RightOf<Pair>{panels + i * line, conv.lines * line, kPanel},
                            {sums, conv.cols}, /*adds=*/i > 0, {});
}

bool can_multiply_pairs() { return !FLIPSIDE_HAS_CLONES || has_pair_products(); }

bool has_pair_products() { return has_native_bfloat16(); }

}  // namespace flipside::kernels
