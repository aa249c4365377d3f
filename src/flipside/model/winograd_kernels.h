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
/// in `values`, row by row, or -1 for one that does not exist and is zero; and the a*a points of
/// the square, `step` numbers apart.
struct Square {
  const int64_t* places;
  int64_t count, step;
};

/// points = B^T v B of an input, G v G^T of taps, A v A^T of an output (the adjoint).
void to_points(Seen seen, int64_t taps, const Square& square, const float* values, float* points);
/// values = A^T p A of an output, G^T p G of taps (the adjoint); to an input, B p B^T (the adjoint)
/// is added, for its squares overlap.
void from_points(Seen seen, int64_t taps, const Square& square, const float* points, float* values);

constexpr int64_t kPanel = 16;  // columns of a matrix that `multiply` takes together

/// c (+)= a b for a [rows,depth], b [depth,cols], c [rows,cols], cols a multiple of kPanel:
/// a's rows lie `a_row` floats apart and its columns `a_depth`; b's panels of kPanel columns lie
/// `b_panel` apart and within them its rows `b_depth`; c's rows lie `c_row` apart.
struct Product {
  int64_t rows, depth, cols;
  const float* a;
  int64_t a_row, a_depth;
  const float* b;
  int64_t b_panel, b_depth;
  float* c;
  int64_t c_row;
};
void multiply(const Product& product, bool adds);

/// Whether this processor has the vectors for which these loops were written (AVX2 at least).
bool has_winograd_vectors();

}  // namespace flipside::kernels
