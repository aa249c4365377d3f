#include "flipside/explain/guided_filter.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "flipside/core/error.h"

namespace flipside::guided_filter_test {
namespace {

/// The paper's equations 5, 6 and 8 by loops over every window and pixel.
Tensor filter_by_windows(const Tensor& guide, const Tensor& map, int64_t radius, double epsilon) {
  const int64_t height = map.size(2), width = map.size(3);
  Tensor sum = torch::zeros_like(map, torch::kFloat64), count = torch::zeros_like(sum);
  for (int64_t n = 0; n < map.size(0); ++n)
    for (int64_t y = 0; y < height; ++y)
      for (int64_t x = 0; x < width; ++x) {
        const int64_t top = std::max<int64_t>(0, y - radius),
                      end = std::min(height, y + radius + 1);
        const int64_t left = std::max<int64_t>(0, x - radius),
                      right = std::min(width, x + radius + 1);
        const auto window = [&](const Tensor& of) {
          return of[n][0].slice(0, top, end).slice(1, left, right).to(torch::kFloat64);
        };
        const Tensor I = window(guide), p = window(map);
        const double variance = (I - I.mean()).square().mean().item<double>();
        const double a =
            ((I * p).mean() - I.mean() * p.mean()).item<double>() / (variance + epsilon);
        const double b = (p.mean() - a * I.mean()).item<double>();
        sum[n][0].slice(0, top, end).slice(1, left, right).add_(a * I + b);
        count[n][0].slice(0, top, end).slice(1, left, right).add_(1);
      }
  return sum / count;
}

TEST(GuidedFilter, IsThePapersSumOverWindows) {
  torch::manual_seed(4);
  for (const auto& [height, width, radius, epsilon] :
       {std::tuple<int64_t, int64_t, int64_t, double>{9, 12, 2, 1e-3},
        {7, 5, 4, 0.02},
        {1, 6, 1, 1e-4},
        {5, 1, 9, 1e-2}}) {
    const Tensor guide = torch::rand({2, 1, height, width}), map = torch::rand_like(guide);
    const Tensor ours = guided_filter(guide, map, radius, epsilon);
    const Tensor theirs = filter_by_windows(guide, map, radius, epsilon).to(torch::kFloat32);
    // Windows at the border are fewer: eq. 8 divides by those that hold the pixel.
    EXPECT_TRUE(torch::allclose(ours, theirs, 1e-4, 1e-5)) << height << " x " << width;
  }
}

TEST(GuidedFilter, GivesTheMeanOfMeansWhereTheGuideIsFlatAndTheMapWhereItIsTheGuide) {
  torch::manual_seed(5);
  const Tensor map = torch::rand({1, 1, 8, 8});
  const Tensor flat = guided_filter(torch::full_like(map, 0.4), map, 8, 1e-3);
  EXPECT_TRUE(torch::allclose(flat, torch::full_like(map, map.mean().item<float>()), 0, 1e-5));
  EXPECT_TRUE(torch::allclose(guided_filter(map, map, 2, 1e-9), map, 0, 1e-4));
}

TEST(GuidedFilter, RefusesOtherShapesAndSizes) {
  const Tensor map = torch::rand({1, 1, 4, 4});
  EXPECT_THROW(guided_filter(torch::rand({1, 3, 4, 4}), map, 1, 1e-3), Error);
  EXPECT_THROW(guided_filter(map, map, 0, 1e-3), Error);
  EXPECT_THROW(guided_filter(map, map, 1, 0), Error);
}

/// A dark bar on a light wall, and a blurred map of it that is two pixels too wide on either side.
struct Bar {
  Tensor image = torch::full({1, 3, 24, 24}, 0.7), map = torch::zeros({1, 1, 24, 24});
  Bar() {
    image.slice(3, 10, 13) = 0.2;
    const float profile[] = {0.1f, 0.2f, 0.3f, 0.3f, 0.3f, 0.2f, 0.1f};
    for (int64_t i = 0; i < 7; ++i) map.slice(3, 8 + i, 9 + i) = profile[i];
  }
};

TEST(FollowEdges, CutsAMapBackToTheEdgeOfTheImage) {
  const Bar bar;
  const Tensor fitted = follow_edges(bar.map, bar.image, 4);
  const auto column = [&](const Tensor& of, int64_t x) { return of[0][0][12][x].item<double>(); };
  EXPECT_GT(column(fitted, 11), 0.2);
  for (const int64_t x : {8, 9, 13, 14}) EXPECT_LT(column(fitted, x), 0.12) << x;
  EXPECT_GT(column(bar.map, 13), 0.15);  // it was not so before
  EXPECT_TRUE(torch::equal(follow_edges(bar.map, bar.image, 0), bar.map));
}

TEST(Refined, IsSmoothedAndThenFitted) {
  torch::manual_seed(7);
  const Bar bar;
  const Tensor map = torch::rand({1, 1, 24, 24});
  EXPECT_TRUE(
      torch::equal(refined(map, bar.image, 2), follow_edges(smooth(map, 0.5), bar.image, 2)));
  EXPECT_TRUE(torch::equal(refined(map, bar.image, 0), smooth(map, kSmoothing)));
}

TEST(FollowEdges, StaysInRange) {
  torch::manual_seed(6);
  const Tensor images = torch::rand({2, 3, 16, 16});
  const Tensor fitted =
      follow_edges((torch::rand({2, 1, 16, 16}) > 0.5).to(torch::kFloat32), images, 3);
  EXPECT_GE(fitted.min().item<double>(), 0);
  EXPECT_LE(fitted.max().item<double>(), 1);
}

}  // namespace
}  // namespace flipside::guided_filter_test
