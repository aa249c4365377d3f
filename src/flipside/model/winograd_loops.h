#pragma once

#include <utility>

#include "flipside/model/lanes.h"
#include "flipside/model/winograd_kernels.h"

// The loops behind `winograd_kernels.h`, for any kind of numbers: float32 and bfloat16 ask
// different things of the processor, so that each is compiled in a file of its own, for itself.

namespace flipside::kernels {
namespace {

/// Minimal filtering of kTaps taps: what takes a kernel's taps, an input and an output's points to
/// each other, as matrices (docs/equations.md).
template <int kTaps>
struct Filter {
  static constexpr int kPoints = kTaps + kTile - 1;  // the last one is infinity
  float taps[kPoints][kTaps] = {}, input[kPoints][kPoints] = {}, output[kTile][kPoints] = {};

  constexpr explicit Filter(const double (&points)[kPoints - 1]) {
    double all[kPoints] = {1};  // the polynomial whose zeros are the points, by rising powers
    for (int i = 0; i < kPoints - 1; ++i) {
      double others[kPoints] = {1}, product = 1;
      for (int j = 0; j < kPoints - 1; ++j) {
        if (j == i) continue;
        product *= points[i] - points[j];
        multiply_by_zero_at(points[j], others);
      }
      for (int j = 0; j < kPoints; ++j) input[i][j] = static_cast<float>(others[j]);
      multiply_by_zero_at(points[i], all);
      double power = 1;
      for (int j = 0; j < kTile || j < kTaps; ++j, power *= points[i]) {
        if (j < kTaps) taps[i][j] = static_cast<float>(power / product);
        if (j < kTile) output[j][i] = static_cast<float>(power);
      }
    }
    for (int j = 0; j < kPoints; ++j) input[kPoints - 1][j] = static_cast<float>(all[j]);
    taps[kPoints - 1][kTaps - 1] = output[kTile - 1][kPoints - 1] = 1;
  }

 private:
  /// polynomial *= (x - zero)
  static constexpr void multiply_by_zero_at(double zero, double (&polynomial)[kPoints]) {
    for (int j = kPoints - 1; j > 0; --j) polynomial[j] = polynomial[j - 1] - zero * polynomial[j];
    polynomial[0] *= -zero;
  }
};

// Points whose products lose few digits, among fractions that float32 holds exactly: with the usual
// 0, 1, -1, 2, -2 and 0, 1, -1, 2 errors are 2.4 times as large.
struct ThreeTaps {
  static constexpr int kPoints = 6, kFirstOpposite = 1, kOpposites = 2;
  static constexpr Filter<3> kFilter{{0, 0.625, -0.625, 1.5, -1.5}};
};
struct TwoTaps {
  static constexpr int kPoints = 5, kFirstOpposite = 0, kOpposites = 2;
  static constexpr Filter<2> kFilter{{0.375, -0.375, 1.25, -1.25}};
};

/// Rows or columns that belong to points a and -a, side by side from `first` on, `count` times two:
/// what even powers give them is the same, and what odd ones give differs in sign, so that both are
/// done at once.
struct Opposites {
  int first, count;
  constexpr bool has(int i) const { return i >= first && i < first + 2 * count; }
  constexpr int start(int i) const { return i - (i - first) % 2; }  // of the two that i is one of
};
constexpr Opposites kNoOpposites{0, 0};

// What is done along each axis, as [kOut,kIn] matrices.
template <typename Taps>
struct OfInput {
  static constexpr int kOut = Taps::kPoints, kIn = Taps::kPoints;
  static constexpr Opposites kRows{Taps::kFirstOpposite, Taps::kOpposites}, kCols = kNoOpposites;
  static constexpr float at(int i, int j) { return Taps::kFilter.input[i][j]; }
};
template <typename Taps>
struct OfTaps {
  static constexpr int kOut = Taps::kPoints, kIn = Taps::kPoints - kTile + 1;
  static constexpr Opposites kRows{Taps::kFirstOpposite, Taps::kOpposites}, kCols = kNoOpposites;
  static constexpr float at(int i, int j) { return Taps::kFilter.taps[i][j]; }
};
template <typename Taps>
struct ToOutput {
  static constexpr int kOut = kTile, kIn = Taps::kPoints;
  static constexpr Opposites kRows = kNoOpposites, kCols{Taps::kFirstOpposite, Taps::kOpposites};
  static constexpr float at(int i, int j) { return Taps::kFilter.output[i][j]; }
};
template <typename Matrix>
struct Adjoint {
  static constexpr int kOut = Matrix::kIn, kIn = Matrix::kOut;
  static constexpr Opposites kRows = Matrix::kCols, kCols = Matrix::kRows;
  static constexpr float at(int i, int j) { return Matrix::at(j, i); }
};

/// Half the sum of opposites' numbers (in the first's place) or half their difference.
constexpr float half_of(bool is_second, float first, float second) {
  return (is_second ? first - second : first + second) / 2;
}

/// `Matrix` for opposites' sums and differences in place of both: of what goes in, or comes out.
template <typename Matrix>
struct Halved {
  static constexpr float at(int i, int j) {
    if (Matrix::kRows.has(i)) {
      const int first = Matrix::kRows.start(i);
      return half_of(i > first, Matrix::at(first, j), Matrix::at(first + 1, j));
    }
    if (Matrix::kCols.has(j)) {
      const int first = Matrix::kCols.start(j);
      return half_of(j > first, Matrix::at(i, first), Matrix::at(i, first + 1));
    }
    return Matrix::at(i, j);
  }
  /// The column that a row's sum starts with: one that is taken as it is, if there is any.
  static constexpr int start(int i) {
    for (int j = 0; j < Matrix::kIn; ++j)
      if (at(i, j) == 1.F) return j;
    for (int j = 0; j < Matrix::kIn; ++j)
      if (at(i, j) != 0.F) return j;
    return 0;
  }
};

template <typename Matrix, int kRow, int kCol, typename Floats>
FLIPSIDE_INLINE void add_term(Floats& sum, const Floats& value) {
  constexpr float factor = Matrix::at(kRow, kCol);
  if constexpr (kCol == Matrix::start(kRow) || factor == 0.F)
    return;
  else if constexpr (factor == 1.F)
    sum += value;
  else if constexpr (factor == -1.F)
    sum -= value;
  else
    sum += factor * value;
}

template <typename Matrix, int kRow, typename Floats, int... kCols>
FLIPSIDE_INLINE Floats row_times(const Floats* in, std::integer_sequence<int, kCols...>) {
  constexpr int start = Matrix::start(kRow);
  constexpr float factor = Matrix::at(kRow, start);
  Floats sum = in[start];
  if constexpr (factor != 1.F) sum = factor * sum;
  (add_term<Matrix, kRow, kCols>(sum, in[kCols]), ...);
  return sum;
}

/// Sums in the place of the first of two opposites, differences in that of the second.
template <typename Floats>
FLIPSIDE_INLINE void add_and_subtract(const Opposites& all, Floats* values) {
  for (int i = all.first; i < all.first + 2 * all.count; i += 2) {
    const Floats first = values[i], second = values[i + 1];
    values[i] = first + second;
    values[i + 1] = first - second;
  }
}

/// out = Matrix in; `in` is used up.
template <typename Matrix, typename Floats, int... kRows>
FLIPSIDE_INLINE void times(Floats* in, Floats* out, std::integer_sequence<int, kRows...>) {
  add_and_subtract(Matrix::kCols, in);
  ((out[kRows] =
        row_times<Halved<Matrix>, kRows>(in, std::make_integer_sequence<int, Matrix::kIn>())),
   ...);
  add_and_subtract(Matrix::kRows, out);
}

/// [kIn,kIn] by `load(i)` -> [kOut,kOut] to `store(i, value)`, along both axes.
template <typename Matrix, typename Floats, typename Load, typename Store>
FLIPSIDE_INLINE void times_both(const Load& load, const Store& store) {
  constexpr auto rows = std::make_integer_sequence<int, Matrix::kOut>();
  Floats half[Matrix::kOut][Matrix::kIn];
  for (int j = 0; j < Matrix::kIn; ++j) {
    Floats in[Matrix::kIn], out[Matrix::kOut];
    for (int i = 0; i < Matrix::kIn; ++i) in[i] = load(i * Matrix::kIn + j);
    times<Matrix>(in, out, rows);
    for (int i = 0; i < Matrix::kOut; ++i) half[i][j] = out[i];
  }
  for (int i = 0; i < Matrix::kOut; ++i) {
    Floats out[Matrix::kOut];
    times<Matrix>(half[i], out, rows);
    for (int j = 0; j < Matrix::kOut; ++j) store(i * Matrix::kOut + j, out[j]);
  }
}

constexpr uint32_t kZeros[Sixteen::kCount] = {};

/// What lies at a place of `values`, zero where there is none. What lies `ahead` of it is fetched
/// into the cache: a tile takes as long as that takes.
template <typename Width, typename Value>
FLIPSIDE_INLINE typename Width::Floats load_place(int64_t place, const Value* values,
                                                  int64_t ahead) {
  __builtin_prefetch(values + place + ahead);
  const auto* nothing = reinterpret_cast<const Value*>(kZeros);
  return load_as<Width>(place < 0 ? nothing : values + place);
}

template <typename Matrix, typename Value>
struct ToPoints {
  const Square& square;
  const Value* values;
  Value* points;

  template <typename Width>
  FLIPSIDE_INLINE void tile(int64_t c) const {
    using Floats = typename Width::Floats;
    for (int i = 0; i < Matrix::kOut * Matrix::kOut; ++i)
      __builtin_prefetch(points + i * square.step + c, 1);
    const auto load = [&](int i) FLIPSIDE_INLINED {
      return load_place<Width>(square.places[i], values + c, square.ahead);
    };
    const auto store = [&](int i, const Floats& point) FLIPSIDE_INLINED {
      store_as<Width>(points + i * square.step + c, point);
    };
    times_both<Matrix, Floats>(load, store);
  }
};

template <typename Matrix, typename Value>
struct FromPoints {
  const Square& square;
  const float* points;
  Value* values;

  template <typename Width>
  FLIPSIDE_INLINE void tile(int64_t c) const {
    using Floats = typename Width::Floats;
    const auto load = [&](int i)
                          FLIPSIDE_INLINED { return load_as<Width>(points + i * square.step + c); };
    const auto store = [&](int i, const Floats& sum) FLIPSIDE_INLINED {
      if (square.places[i] < 0) return;
      Value* value = values + square.places[i] + c;
      __builtin_prefetch(value + square.ahead, 1);
      if (square.shared >> i & 1)
        store_as<Width>(value, load_as<Width>(value) + sum);
      else
        store_as<Width>(value, sum);
    };
    times_both<Matrix, Floats>(load, store);
  }
};

/// `run(matrix)` with the matrix that takes what is seen to the points.
template <typename Taps, typename Run>
FLIPSIDE_INLINE void with_matrix_of(Seen seen, const Run& run) {
  switch (seen) {
    case Seen::kInput:
      return run(OfInput<Taps>());
    case Seen::kTaps:
      return run(OfTaps<Taps>());
    case Seen::kOutput:
      return run(Adjoint<ToOutput<Taps>>());
  }
}
template <typename Run>
FLIPSIDE_INLINE void with_matrix(Seen seen, int64_t taps, const Run& run) {
  if (taps == 3) return with_matrix_of<ThreeTaps>(seen, run);
  with_matrix_of<TwoTaps>(seen, run);
}

template <typename Value>
FLIPSIDE_INLINE void to_points_by(Seen seen, int64_t taps, const Square& square,
                                  const Value* values, Value* points) {
  with_matrix(seen, taps, [&](auto matrix) FLIPSIDE_INLINED {
    for_widths(ToPoints<decltype(matrix), Value>{square, values, points}, square.count);
  });
}

template <typename Value>
FLIPSIDE_INLINE void from_points_by(Seen seen, int64_t taps, const Square& square,
                                    const float* points, Value* values) {
  with_matrix(seen, taps, [&](auto matrix) FLIPSIDE_INLINED {
    for_widths(FromPoints<Adjoint<decltype(matrix)>, Value>{square, points, values}, square.count);
  });
}

template <typename Numbers>
struct Product {
  using Element = typename Numbers::Element;
  const Shape& shape;
  const LeftOf<Element>& left;
  const RightOf<Element>& right;
  const Sum& sum;
  bool adds;
};

/// kRows x (kPanels * kPanel) of the product, held in registers over the whole depth.
template <typename Width, int kRows, int kPanels, typename Numbers>
FLIPSIDE_INLINE void multiply_block(const Product<Numbers>& p, int64_t row, int64_t panel) {
  constexpr int kWidth = Width::kCount, kParts = kPanel / kWidth, kVectors = kPanels * kParts;
  using Floats = typename Width::Floats;
  using Register = typename Numbers::template Register<Width>;
  const auto* a = p.left.data + row * p.left.row;
  const auto* b = p.right.data + panel * p.right.panel;
  float* c = p.sum.data + row * p.sum.row + panel * kPanel;
  Register sums[kRows][kVectors];
  for (int r = 0; r < kRows; ++r)
    for (int v = 0; v < kVectors; ++v)
      sums[r][v] = (Register)(p.adds ? load_as<Width>(c + r * p.sum.row + v * kWidth) : Floats{});
  for (int64_t k = 0; k < p.shape.depth; ++k) {
    Register right[kVectors];
    for (int v = 0; v < kVectors; ++v)
      right[v] = (Register)load_as<Width>(reinterpret_cast<const float*>(
          b + k * p.right.depth + v / kParts * p.right.panel + v % kParts * kWidth));
    for (int r = 0; r < kRows; ++r) {
      const auto left = a[r * p.left.row + k * p.left.depth];
      for (int v = 0; v < kVectors; ++v)
        sums[r][v] = Numbers::template plus_product<Width>(sums[r][v], left, right[v]);
    }
  }
  for (int r = 0; r < kRows; ++r)
    for (int v = 0; v < kVectors; ++v)
      store_as<Width>(c + r * p.sum.row + v * kWidth, (Floats)sums[r][v]);
}

template <typename Width, int kRows, int kPanels, typename Numbers>
FLIPSIDE_INLINE void multiply_last_rows(const Product<Numbers>& p, int64_t row, int64_t panel) {
  if constexpr (kRows > 0) {
    if (p.shape.rows - row == kRows) return multiply_block<Width, kRows, kPanels>(p, row, panel);
    multiply_last_rows<Width, kRows - 1, kPanels>(p, row, panel);
  }
}

template <typename Width, int kPanels, typename Numbers>
FLIPSIDE_INLINE void multiply_panels(const Product<Numbers>& p, int64_t panel) {
  // Enough sums at once that none has to wait for the one before it.
  constexpr int kRows = Width::kCount == Sixteen::kCount && kPanels == 1 ? 12 : 6;
  int64_t row = 0;
  for (; row + kRows <= p.shape.rows; row += kRows)
    multiply_block<Width, kRows, kPanels>(p, row, panel);
  multiply_last_rows<Width, kRows - 1, kPanels>(p, row, panel);
}

/// For 32 registers of sixteen floats: sums fill most of them, and each number that is loaded meets
/// as many as it can.
template <typename Numbers>
FLIPSIDE_INLINE void multiply_wide(const Product<Numbers>& p) {
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
template <typename Numbers>
FLIPSIDE_INLINE void multiply_narrow(const Product<Numbers>& p) {
  for (int64_t panel = 0; panel < p.shape.cols / kPanel; ++panel)
    multiply_panels<Eight, 1>(p, panel);
}

template <typename Numbers, typename Element>
FLIPSIDE_INLINE void multiply_at(const Shape& shape, LeftOf<Element> left, RightOf<Element> right,
                                 Sum sum, bool adds, const Points& points) {
  for (int64_t i = 0; i < points.count; ++i) {
    const Product<Numbers> product{shape, left, right, sum, adds};
    if (has_wide_registers())
      multiply_wide(product);
    else
      multiply_narrow(product);
    left.data += points.left;
    right.data += points.right;
    sum.data += points.sum;
  }
}

}  // namespace
}  // namespace flipside::kernels
