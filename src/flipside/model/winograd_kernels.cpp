#include "flipside/model/winograd_kernels.h"

#include <utility>

#include "flipside/model/lanes.h"

namespace flipside::kernels {
namespace {

/// Polynomials are evaluated at 0, 1, -1, 2, -2 and infinity.
struct ThreeTaps {
  static constexpr int kPoints = 6;
  static constexpr float kWeights[6][3] = {{1.F / 4, 0, 0},
                                           {-1.F / 6, -1.F / 6, -1.F / 6},
                                           {-1.F / 6, 1.F / 6, -1.F / 6},
                                           {1.F / 24, 1.F / 12, 1.F / 6},
                                           {1.F / 24, -1.F / 12, 1.F / 6},
                                           {0, 0, 1}};
  static constexpr float kInput[6][6] = {{4, 0, -5, 0, 1, 0},  {0, -4, -4, 1, 1, 0},
                                         {0, 4, -4, -1, 1, 0}, {0, -2, -1, 2, 1, 0},
                                         {0, 2, -1, -2, 1, 0}, {0, 4, 0, -5, 0, 1}};
  static constexpr float kOutput[4][6] = {
      {1, 1, 1, 1, 1, 0}, {0, 1, -1, 2, -2, 0}, {0, 1, 1, 4, 4, 0}, {0, 1, -1, 8, -8, 1}};
};

/// At 0, 1, -1, 2 and infinity.
struct TwoTaps {
  static constexpr int kPoints = 5;
  static constexpr float kWeights[5][2] = {
      {1.F / 2, 0}, {-1.F / 2, -1.F / 2}, {-1.F / 6, 1.F / 6}, {1.F / 6, 1.F / 3}, {0, 1}};
  static constexpr float kInput[5][5] = {
      {2, -1, -2, 1, 0}, {0, -2, -1, 1, 0}, {0, 2, -3, 1, 0}, {0, -1, 0, 1, 0}, {0, 2, -1, -2, 1}};
  static constexpr float kOutput[4][5] = {
      {1, 1, 1, 1, 0}, {0, 1, -1, 2, 0}, {0, 1, 1, 4, 0}, {0, 1, -1, 8, 1}};
};

// What is done along each axis, as [kOut,kIn] matrices.
template <typename Taps>
struct OfInput {
  static constexpr int kOut = Taps::kPoints, kIn = Taps::kPoints;
  static constexpr float at(int i, int j) { return Taps::kInput[i][j]; }
};
template <typename Taps>
struct OfTaps {
  static constexpr int kOut = Taps::kPoints, kIn = Taps::kPoints - kTile + 1;
  static constexpr float at(int i, int j) { return Taps::kWeights[i][j]; }
};
template <typename Taps>
struct ToOutput {
  static constexpr int kOut = kTile, kIn = Taps::kPoints;
  static constexpr float at(int i, int j) { return Taps::kOutput[i][j]; }
};
template <typename Matrix>
struct Adjoint {
  static constexpr int kOut = Matrix::kIn, kIn = Matrix::kOut;
  static constexpr float at(int i, int j) { return Matrix::at(j, i); }
};

template <typename Matrix, int kRow, int kCol, typename Floats>
FLIPSIDE_INLINE void add_term(Floats& sum, const Floats& value) {
  constexpr float factor = Matrix::at(kRow, kCol);
  if constexpr (factor == 1.F)
    sum += value;
  else if constexpr (factor == -1.F)
    sum -= value;
  else if constexpr (factor != 0.F)
    sum += factor * value;
}

template <typename Matrix, int kRow, typename Floats, int... kCols>
FLIPSIDE_INLINE Floats row_times(const Floats* in, int step, std::integer_sequence<int, kCols...>) {
  Floats sum{};
  (add_term<Matrix, kRow, kCols>(sum, in[kCols * step]), ...);
  return sum;
}

/// out[i * out_step] = sum over j of Matrix(i, j) in[j * in_step].
template <typename Matrix, typename Floats, int... kRows>
FLIPSIDE_INLINE void times(const Floats* in, int in_step, Floats* out, int out_step,
                           std::integer_sequence<int, kRows...>) {
  ((out[kRows * out_step] =
        row_times<Matrix, kRows>(in, in_step, std::make_integer_sequence<int, Matrix::kIn>())),
   ...);
}

/// `in` [kIn][kIn] -> `out` [kOut][kOut], along both axes.
template <typename Matrix, typename Floats>
FLIPSIDE_INLINE void times_both(const Floats* in, Floats* out) {
  constexpr auto rows = std::make_integer_sequence<int, Matrix::kOut>();
  Floats half[Matrix::kOut * Matrix::kIn];
  for (int j = 0; j < Matrix::kIn; ++j)
    times<Matrix>(in + j, Matrix::kIn, half + j, Matrix::kIn, rows);
  for (int i = 0; i < Matrix::kOut; ++i)
    times<Matrix>(half + i * Matrix::kIn, 1, out + i * Matrix::kOut, 1, rows);
}

constexpr float kZeros[Sixteen::kCount] = {};

template <typename Matrix>
struct ToPoints {
  const Square& square;
  const float* values;
  float* points;

  template <typename Width>
  FLIPSIDE_INLINE void tile(int64_t c) const {
    using Floats = typename Width::Floats;
    Floats in[Matrix::kIn * Matrix::kIn], out[Matrix::kOut * Matrix::kOut];
    for (int i = 0; i < Matrix::kOut * Matrix::kOut; ++i)
      __builtin_prefetch(points + i * square.step + c, 1);
    for (int i = 0; i < Matrix::kIn * Matrix::kIn; ++i) {
      const int64_t place = square.places[i];
      in[i] = load_as<Width>(place < 0 ? kZeros : values + place + c);
    }
    times_both<Matrix>(in, out);
    for (int i = 0; i < Matrix::kOut * Matrix::kOut; ++i)
      store_as<Width>(points + i * square.step + c, out[i]);
  }
};

template <typename Matrix, bool kAdds>
struct FromPoints {
  const Square& square;
  const float* points;
  float* values;

  template <typename Width>
  FLIPSIDE_INLINE void tile(int64_t c) const {
    using Floats = typename Width::Floats;
    Floats in[Matrix::kIn * Matrix::kIn], out[Matrix::kOut * Matrix::kOut];
    for (int i = 0; i < Matrix::kIn * Matrix::kIn; ++i)
      in[i] = load_as<Width>(points + i * square.step + c);
    times_both<Matrix>(in, out);
    for (int i = 0; i < Matrix::kOut * Matrix::kOut; ++i) {
      if (square.places[i] < 0) continue;
      float* value = values + square.places[i] + c;
      store_as<Width>(value, kAdds ? load_as<Width>(value) + out[i] : out[i]);
    }
  }
};

template <typename Taps>
FLIPSIDE_INLINE void to_points_of(Seen seen, const Square& square, const float* values,
                                  float* points) {
  using Outputs = ToPoints<Adjoint<ToOutput<Taps>>>;
  switch (seen) {
    case Seen::kInput:
      return for_widths(ToPoints<OfInput<Taps>>{square, values, points}, square.count);
    case Seen::kTaps:
      return for_widths(ToPoints<OfTaps<Taps>>{square, values, points}, square.count);
    case Seen::kOutput:
      return for_widths(Outputs{square, values, points}, square.count);
  }
}

template <typename Taps>
FLIPSIDE_INLINE void from_points_of(Seen seen, const Square& square, const float* points,
                                    float* values) {
  using Inputs = FromPoints<Adjoint<OfInput<Taps>>, /*kAdds=*/true>;
  using Weights = FromPoints<Adjoint<OfTaps<Taps>>, /*kAdds=*/false>;
  using Outputs = FromPoints<ToOutput<Taps>, /*kAdds=*/false>;
  switch (seen) {
    case Seen::kInput:
      return for_widths(Inputs{square, points, values}, square.count);
    case Seen::kTaps:
      return for_widths(Weights{square, points, values}, square.count);
    case Seen::kOutput:
      return for_widths(Outputs{square, points, values}, square.count);
  }
}

struct Product {
  const Shape& shape;
  const Left& left;
  const Right& right;
  const Sum& sum;
  bool adds;
};

/// kRows x (kPanels * kPanel) of the product, held in registers over the whole depth.
template <typename Width, int kRows, int kPanels>
FLIPSIDE_INLINE void multiply_block(const Product& p, int64_t row, int64_t panel) {
  constexpr int kWidth = Width::kCount, kParts = kPanel / kWidth, kVectors = kPanels * kParts;
  using Floats = typename Width::Floats;
  const float* a = p.left.data + row * p.left.row;
  const float* b = p.right.data + panel * p.right.panel;
  float* c = p.sum.data + row * p.sum.row + panel * kPanel;
  Floats sums[kRows][kVectors];
  for (int r = 0; r < kRows; ++r)
    for (int v = 0; v < kVectors; ++v)
      sums[r][v] = p.adds ? load_as<Width>(c + r * p.sum.row + v * kWidth) : Floats{};
  for (int64_t k = 0; k < p.shape.depth; ++k) {
    Floats right[kVectors];
    for (int v = 0; v < kVectors; ++v)
      right[v] =
          load_as<Width>(b + k * p.right.depth + v / kParts * p.right.panel + v % kParts * kWidth);
    for (int r = 0; r < kRows; ++r) {
      const float left = a[r * p.left.row + k * p.left.depth];
      for (int v = 0; v < kVectors; ++v) sums[r][v] += left * right[v];
    }
  }
  for (int r = 0; r < kRows; ++r)
    for (int v = 0; v < kVectors; ++v) store_as<Width>(c + r * p.sum.row + v * kWidth, sums[r][v]);
}

template <typename Width, int kRows, int kPanels>
FLIPSIDE_INLINE void multiply_last_rows(const Product& p, int64_t row, int64_t panel) {
  if constexpr (kRows > 0) {
    if (p.shape.rows - row == kRows) return multiply_block<Width, kRows, kPanels>(p, row, panel);
    multiply_last_rows<Width, kRows - 1, kPanels>(p, row, panel);
  }
}

template <typename Width, int kPanels>
FLIPSIDE_INLINE void multiply_panels(const Product& p, int64_t panel) {
  constexpr int kRows = 6;
  int64_t row = 0;
  for (; row + kRows <= p.shape.rows; row += kRows)
    multiply_block<Width, kRows, kPanels>(p, row, panel);
  multiply_last_rows<Width, kRows - 1, kPanels>(p, row, panel);
}

/// For 32 registers of sixteen floats: sums fill most of them, and each number that is loaded meets
/// as many as it can.
FLIPSIDE_INLINE void multiply_wide(const Product& p) {
  const int64_t panels = p.shape.cols / kPanel;
  int64_t panel = 0;
  for (; panel + 4 <= panels; panel += 4) multiply_panels<Sixteen, 4>(p, panel);
  switch (panels - panel) {
    case 3:
      return multiply_panels<Sixteen, 3>(p, panel);
    case 2:
      return multiply_panels<Sixteen, 2>(p, panel);
    case 1:
      return multiply_panels<Sixteen, 1>(p, panel);
  }
}

/// For sixteen registers of eight.
FLIPSIDE_INLINE void multiply_narrow(const Product& p) {
  for (int64_t panel = 0; panel < p.shape.cols / kPanel; ++panel)
    multiply_panels<Eight, 1>(p, panel);
}

}  // namespace

FLIPSIDE_CLONES void to_points(Seen seen, int64_t taps, const Square& square, const float* values,
                               float* points) {
  if (taps == 3) return to_points_of<ThreeTaps>(seen, square, values, points);
  to_points_of<TwoTaps>(seen, square, values, points);
}

FLIPSIDE_CLONES void from_points(Seen seen, int64_t taps, const Square& square, const float* points,
                                 float* values) {
  if (taps == 3) return from_points_of<ThreeTaps>(seen, square, points, values);
  from_points_of<TwoTaps>(seen, square, points, values);
}

FLIPSIDE_CLONES void multiply(const Shape& shape, const Left& left, const Right& right,
                              const Sum& sum, bool adds) {
  const Product product{shape, left, right, sum, adds};
  if (has_wide_registers()) return multiply_wide(product);
  multiply_narrow(product);
}

bool has_winograd_vectors() { return has_registers_of_eight(); }

}  // namespace flipside::kernels
