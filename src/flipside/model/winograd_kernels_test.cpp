#include "flipside/model/winograd_kernels.h"

#include <gtest/gtest.h>

#include "flipside/core/torch.h"

namespace flipside::winograd_kernels_test {
namespace {

using kernels::Seen;
using kernels::Square;

kernels::BFloatBits* bits(const Tensor& tensor) {
  return reinterpret_cast<kernels::BFloatBits*>(tensor.data_ptr<at::BFloat16>());
}

// What the points are for, on one axis: y_i = sum over k of w_k d_(i+k) for four i.
TEST(WinogradKernels, FilterOneAxis) {
  for (const int64_t taps : {2, 3}) {
    const int64_t a = kernels::winograd_points(taps), length = 8;
    torch::manual_seed(taps);
    const Tensor d = torch::randn({a, a, length}), w = torch::randn({taps, taps, length});
    const auto places = [](int64_t side) {
      std::vector<int64_t> list(side * side);
      for (int64_t i = 0; i < side * side; ++i) list[i] = i * 8;
      return list;
    };
    const auto of_d = places(a), of_w = places(taps), of_y = places(kernels::kTile);
    Tensor dp = torch::empty({a, a, length}), wp = torch::empty({a, a, length});
    Tensor y = torch::empty({kernels::kTile, kernels::kTile, length});
    kernels::to_points(Seen::kInput, taps, {of_d.data(), length, length}, d.data_ptr<float>(),
                       dp.data_ptr<float>());
    kernels::to_points(Seen::kTaps, taps, {of_w.data(), length, length}, w.data_ptr<float>(),
                       wp.data_ptr<float>());
    const Tensor product = dp * wp;
    kernels::from_points(Seen::kOutput, taps, {of_y.data(), length, length},
                         product.data_ptr<float>(), y.data_ptr<float>());
    const Tensor windows = d.unfold(0, taps, 1).unfold(1, taps, 1);  // [4,4,length,taps,taps]
    const Tensor expected = (windows * w.permute({2, 0, 1})).sum({3, 4});
    EXPECT_TRUE(torch::allclose(y, expected, 1e-4, 1e-4)) << taps;
  }
}

// <T v, p> = <v, T* p> for each of the three pairs.
TEST(WinogradKernels, AdjointsAreThat) {
  for (const int64_t taps : {2, 3})
    for (const Seen seen : {Seen::kInput, Seen::kTaps, Seen::kOutput}) {
      const int64_t a = kernels::winograd_points(taps), length = 24;
      const int64_t side = seen == Seen::kInput ? a : seen == Seen::kTaps ? taps : kernels::kTile;
      torch::manual_seed(taps);
      const Tensor v = torch::randn({side * side, length}), p = torch::randn({a * a, length});
      std::vector<int64_t> places;
      for (int64_t i = 0; i < side * side; ++i) places.push_back(i * length);
      places[1] = -1;  // is not there
      v[1].zero_();
      Tensor forward = torch::empty_like(p), back = torch::zeros_like(v);
      const Square square{places.data(), length, length};
      kernels::to_points(seen, taps, square, v.data_ptr<float>(), forward.data_ptr<float>());
      kernels::from_points(seen, taps, square, p.data_ptr<float>(), back.data_ptr<float>());
      EXPECT_NEAR((forward * p).sum().item<double>(), (v * back).sum().item<double>(), 0.05);
      EXPECT_EQ(back[1].abs().sum().item<double>(), 0);
    }
}

TEST(WinogradKernels, AddToWhatIsSharedAlone) {
  const int64_t taps = 3, a = kernels::winograd_points(taps), length = 24;
  torch::manual_seed(1);
  const Tensor p = torch::randn({a * a, length});
  std::vector<int64_t> places;
  for (int64_t i = 0; i < a * a; ++i) places.push_back(i * length);
  Square square{places.data(), length, length};
  const Tensor once = torch::full({a * a, length}, std::nan(""));
  kernels::from_points(Seen::kInput, taps, square, p.data_ptr<float>(), once.data_ptr<float>());
  const Tensor twice = once.clone();
  square.shared = uint64_t{1} << 3 | uint64_t{1} << 35;
  kernels::from_points(Seen::kInput, taps, square, p.data_ptr<float>(), twice.data_ptr<float>());
  for (int64_t i = 0; i < a * a; ++i)
    EXPECT_TRUE(torch::equal(twice[i], once[i] * (i == 3 || i == 35 ? 2 : 1))) << i;
}

/// Of two squares at once what each gives for itself, in turn.
TEST(WinogradKernels, PairPointsOfTwoSquares) {
  if (!kernels::can_multiply_pairs()) GTEST_SKIP() << "this processor multiplies no bfloat16";
  for (const int64_t taps : {2, 3})
    for (const Seen seen : {Seen::kInput, Seen::kTaps, Seen::kOutput}) {
      const int64_t a = kernels::winograd_points(taps), length = 24;
      const int64_t side = seen == Seen::kInput ? a : seen == Seen::kTaps ? taps : kernels::kTile;
      torch::manual_seed(taps);
      const Tensor v = torch::randn({2, side * side, length}).to(at::kBFloat16);
      std::vector<int64_t> places[2];
      for (int64_t i = 0; i < side * side; ++i)
        for (auto& list : places) list.push_back(i * length);
      places[1][1] = -1;  // is not there
      const auto square = [&](int i, int64_t step) {
        return Square{places[i].data(), length, step};
      };
      const Tensor alone = torch::empty({2, a * a, length}, at::kBFloat16);
      for (int i : {0, 1})
        kernels::to_points(seen, taps, square(i, length), bits(v[i]), bits(alone[i]));
      const Tensor rows = torch::empty_like(alone);
      const Tensor pairs = torch::empty({a * a, length, 2}, at::kBFloat16);
      kernels::to_paired_points(
          seen, taps, square(0, length), square(1, length), bits(v[0]), bits(v[1]),
          {reinterpret_cast<kernels::Pair*>(bits(pairs)), {bits(rows[0]), bits(rows[1])}, length});
      EXPECT_TRUE(torch::equal(rows, alone));
      EXPECT_TRUE(torch::equal(pairs, alone.permute({1, 2, 0})));
    }
}

TEST(WinogradKernels, RoundToPairs) {
  if (!kernels::can_multiply_pairs()) GTEST_SKIP() << "this processor multiplies no bfloat16";
  torch::manual_seed(1);
  const Tensor values = torch::randn({4, 24}), rounded = values.to(at::kBFloat16);
  const Tensor pairs = torch::empty({2, 24, 2}, at::kBFloat16), row = torch::empty_like(rounded[0]);
  kernels::to_pairs(values.data_ptr<float>(), /*rows=*/4, /*width=*/24,
                    reinterpret_cast<kernels::Pair*>(bits(pairs)));
  EXPECT_TRUE(torch::equal(pairs, rounded.view({2, 2, 24}).transpose(1, 2)));
  kernels::to_bfloat16(values[0].data_ptr<float>(), 24, bits(row));
  EXPECT_TRUE(torch::equal(row, rounded[0]));
}

TEST(WinogradKernels, MultiplyPairsOfAllShapes) {
  if (!kernels::can_multiply_pairs()) GTEST_SKIP() << "this processor multiplies no bfloat16";
  // Blocks of rows in full and in part; depths of one tile, of equal ones, with a rest, and more
  // than are turned at once.
  for (const int64_t rows : {1, 5, 6, 13, 16, 24, 37})
    for (const int64_t cols : {16, 32, 48, 64, 80, 112})
      for (const int64_t pairs : {7, 16, 24, 37, 130}) {
        const int64_t points = 2, depth = 2 * pairs;
        torch::manual_seed(rows);
        const Tensor a = torch::randn({points, rows, depth}).to(at::kBFloat16);
        const Tensor b = torch::randn({points, depth, cols}).to(at::kBFloat16);
        const Tensor expected = a.to(at::kDouble).bmm(b.to(at::kDouble)).to(at::kFloat);
        const Tensor panels = b.view({points, pairs, 2, cols}).transpose(2, 3).contiguous();
        const Tensor turned = a.view({points, rows, pairs, 2}).transpose(1, 2).contiguous();
        const auto elements = [](const Tensor& of) {
          return reinterpret_cast<const kernels::Pair*>(bits(of));
        };
        const Tensor c = torch::ones({points, rows, cols + 3});
        const kernels::Shape shape{rows, pairs, cols};
        const kernels::Sum sum{c.data_ptr<float>(), cols + 3};
        const kernels::RightOf<kernels::Pair> right{elements(panels), kernels::kPanel, cols};
        const kernels::Points apart{points, rows * pairs, pairs * cols, rows * (cols + 3)};
        kernels::multiply(shape, {elements(a), pairs, 1}, right, sum, /*adds=*/false, apart);
        EXPECT_TRUE(torch::allclose(c.slice(2, 0, cols), expected, 1e-5, 1e-4))
            << rows << ' ' << cols << ' ' << pairs;
        kernels::multiply(shape, {elements(turned), 1, rows}, right, sum, /*adds=*/true, apart);
        EXPECT_TRUE(torch::allclose(c.slice(2, 0, cols), 2 * expected, 1e-5, 1e-4))
            << rows << ' ' << cols << ' ' << pairs;
        EXPECT_TRUE(torch::equal(c.slice(2, cols), torch::ones({points, rows, 3})));  // left alone
      }
}

TEST(WinogradKernels, MultiplyMatricesOfAllShapes) {
  for (const int64_t rows : {1, 5, 6, 13})
    for (const int64_t cols : {16, 32, 48, 64, 80, 112}) {
      const int64_t depth = 7;
      torch::manual_seed(rows);
      const Tensor a = torch::randn({rows, depth}), b = torch::randn({depth, cols});
      Tensor c = torch::ones({rows, cols + 3}).contiguous();
      const Tensor expected = a.mm(b);
      const kernels::Sum sum{c.data_ptr<float>(), cols + 3};
      const auto multiply = [&](const Tensor& left, int64_t row, int64_t along, bool adds) {
        kernels::multiply({rows, depth, cols}, {left.data_ptr<float>(), row, along},
                          {b.data_ptr<float>(), kernels::kPanel, cols}, sum, adds);
      };
      multiply(a, depth, 1, /*adds=*/false);
      EXPECT_TRUE(torch::allclose(c.slice(1, 0, cols), expected, 1e-5, 1e-5))
          << rows << ' ' << cols;
      multiply(a.t().contiguous(), 1, rows, /*adds=*/true);
      EXPECT_TRUE(torch::allclose(c.slice(1, 0, cols), 2 * expected, 1e-5, 1e-5));
      EXPECT_TRUE(torch::equal(c.slice(1, cols), torch::ones({rows, 3})));  // left alone
      // In panels that lie side by side.
      const Tensor panels = b.view({depth, cols / 16, 16}).transpose(0, 1).contiguous();
      kernels::multiply({rows, depth, cols}, {a.data_ptr<float>(), depth, 1},
                        {panels.data_ptr<float>(), depth * kernels::kPanel, kernels::kPanel}, sum,
                        /*adds=*/false);
      EXPECT_TRUE(torch::allclose(c.slice(1, 0, cols), expected, 1e-5, 1e-5));
    }
}

}  // namespace
}  // namespace flipside::winograd_kernels_test
