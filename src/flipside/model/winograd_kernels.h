#pragma once

#include <cstdint>

namespace flipside::kernels {

// The loops of `winograd_conv`: minimal filtering F(4x4, rxr) (Winograd 1980; Lavin and Gray 2016)
// with r = 3 taps seen at 6 points, or r = 2 at 5 points. A tile of an image becomes a = r + 3
// points along each axis, and so do a kernel's taps; products over channels are taken point by
// point, and 4 x 4 outputs come back. Each step has its adjoint.

constexpr int64_t kTile = 4;  // outputs along an axis

/// Points along an axis.
constexpr int64_t winograd_points(int64_t taps) { return taps + kTile - 1; }

/// What is seen at the points, and its values along an axis: a of an input, r of a kernel's taps,
/// 4 of an output.
enum class Seen { kInput, kTaps, kOutput };

/// `count` numbers side by side (a multiple of 8: channels) at each place of a square: its places
/// in `values`, row by row, or -1 for one that does not exist and is zero; the a*a points of the
/// square, `step` numbers apart; how far `ahead` in `values` the next square lies; and the places
/// that are `shared` with squares that were written before, as bits from the first one on.
struct Square {
  const int64_t* places;
  int64_t count, step, ahead = 0;
  uint64_t shared = 0;
};

/// points = B^T v B of an input, G v G^T of taps, A v A^T of an output (the adjoint).
void to_points(Seen seen, int64_t taps, const Square& square, const float* values, float* points);
/// values = A^T p A of an output, G^T p G of taps (the adjoint), B p B^T of an input (the adjoint),
/// whose squares overlap: what is shared is added to.
void from_points(Seen seen, int64_t taps, const Square& square, const float* points, float* values);

// The same of numbers in bfloat16, the upper half of a float, for images and points alike. Sums are
// float32, and so is what comes back from points.
using BFloatBits = uint16_t;
/// What a processor multiplies at once: two neighbours, the first in the lower half.
using Pair = uint32_t;

void to_points(Seen seen, int64_t taps, const Square& square, const BFloatBits* values,
               BFloatBits* points);
void from_points(Seen seen, int64_t taps, const Square& square, const float* points,
                 BFloatBits* values);

/// Two squares' points in one word each, `first.step` words apart; and, unless `rows` is null, as
/// `to_points` writes them, `row_step` numbers apart.
struct PairedPoints {
  Pair* pairs;
  BFloatBits* rows[2];
  int64_t row_step;
};
void to_paired_points(Seen seen, int64_t taps, const Square& first, const Square& second,
                      const BFloatBits* first_values, const BFloatBits* second_values,
                      const PairedPoints& points);

/// Rows of `width` numbers, two and two: [rows,width] -> [rows/2,width].
void to_pairs(const float* numbers, int64_t rows, int64_t width, Pair* pairs);
void to_bfloat16(const float* values, int64_t count, BFloatBits* rounded);

constexpr int64_t kPanel = 16;  // columns of a matrix that `multiply` takes together

// A product of matrices, sum (+)= left right. Distances are in elements.
struct Shape {
  int64_t rows, depth, cols;  // left [rows,depth], right [depth,cols]; cols a multiple of kPanel
};
template <typename Element>
struct LeftOf {
  const Element* data;
  int64_t row, depth;  // from row to row, and from column to column
};
template <typename Element>
struct RightOf {
  const Element* data;
  int64_t panel, depth;  // from panel to panel of kPanel columns, and from row to row in it
};
using Left = LeftOf<float>;
using Right = RightOf<float>;
struct Sum {
  float* data;
  int64_t row;  // from row to row
};
/// The same product at `count` points, whose factors and sums lie so many elements apart.
struct Points {
  int64_t count = 1, left = 0, right = 0, sum = 0;
};
void multiply(const Shape& shape, const Left& left, const Right& right, const Sum& sum, bool adds,
              const Points& points = {});
/// Pairs lie along the depth, which counts them.
void multiply(const Shape& shape, const LeftOf<Pair>& left, const RightOf<Pair>& right,
              const Sum& sum, bool adds, const Points& points = {});

/// Rows of a convolution's outputs. Neighbouring channels are pairs, and so many of them lie
/// between what an output sees and what the next one in its row, the next row's, and the kernel's
/// next line see.
struct ConvRows {
  int64_t rows, pixels, cols;  // of outputs; cols: their channels, a multiple of kPanel
  int64_t lines, depth;        // of the kernel, and pairs that a line of it sees
  int64_t row, pixel, line;
};
/// sums [rows,pixels,cols] of `in`, padded, by `panels` [cols/kPanel,lines,depth,kPanel].
void convolve(const ConvRows& conv, const Pair* in, const Pair* panels, float* sums);

/// Whether these loops run on the vectors that they were written for: AVX2 at least, and a build
/// for them.
bool has_winograd_vectors();
/// Whether this processor can run the loops in bfloat16, and whether it multiplies pairs at once.
bool can_multiply_pairs();
bool has_pair_products();

}  // namespace flipside::kernels
