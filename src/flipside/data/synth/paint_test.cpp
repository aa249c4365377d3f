#include "flipside/data/synth/paint.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

namespace flipside::synth::paint_test {
namespace {

TEST(Paint, StrokeCoverageByHand) {
  cv::Mat1f coverage = cv::Mat1f::zeros(9, 9);
  // From y = 3.25 to 5.25; row y reaches from y - 0.5 to y + 0.5.
  draw_stroke(coverage, {{{-5, 4.25}, {20, 4.25}}, {2, 2}});
  const float expected[9] = {0, 0, 0, 0.25f, 1, 0.75f, 0, 0, 0};
  for (int y = 0; y < 9; ++y)
    for (int x = 0; x < 9; ++x) EXPECT_NEAR(coverage(y, x), expected[y], 1e-5);
}

TEST(Paint, SlantedStrokeCoversWhatFineSamplingCounts) {
  const cv::Point2d a(4, 6), b(26, 22), along = b - a;
  const double width = 3;
  cv::Mat1f coverage = cv::Mat1f::zeros(32, 32);
  draw_stroke(coverage, {{a, b}, {width, width}});
  constexpr int kFine = 16;
  double error = 0, area = 0;
  for (int y = 0; y < 32; ++y)
    for (int x = 0; x < 32; ++x) {
      int inside = 0;
      for (int i = 0; i < kFine * kFine; ++i) {
        const cv::Point2d p(x + (i % kFine + 0.5) / kFine - 0.5,
                            y + (i / kFine + 0.5) / kFine - 0.5);
        const double t = std::clamp((p - a).dot(along) / along.dot(along), 0.0, 1.0);
        inside += cv::norm(p - a - t * along) <= width / 2;
      }
      const double share = inside / static_cast<double>(kFine * kFine);
      EXPECT_NEAR(coverage(y, x), share, 0.25);
      error += std::abs(coverage(y, x) - share);
      area += share;
    }
  EXPECT_LT(error, 0.05 * area);
}

TEST(Paint, RoundBlobHasTheAreaOfADisc) {
  cv::Mat1f coverage = cv::Mat1f::zeros(40, 40);
  Blob disc;
  disc.centre = {20.3, 19.6};
  disc.radius = 9;
  draw_blob(coverage, disc);
  EXPECT_NEAR(cv::sum(coverage)[0], M_PI * 81, 0.01 * M_PI * 81);
  disc.aspect = 1.8;  // same area by definition of the radius
  disc.angle = 0.7;
  coverage = 0;
  draw_blob(coverage, disc);
  EXPECT_NEAR(cv::sum(coverage)[0], M_PI * 81, 0.03 * M_PI * 81);
}

TEST(Paint, NoiseHasMeanZeroAndDeviationOne) {
  Rng rng(3);
  double sum = 0, squares = 0;
  constexpr int kFields = 40, kSize = 64;
  for (int i = 0; i < kFields; ++i) {
    const cv::Mat1f field = fractal_noise(kSize, 9.0, 3, rng);
    for (float value : field) {
      sum += value;
      squares += value * value;
    }
  }
  const double n = kFields * kSize * kSize;
  EXPECT_NEAR(sum / n, 0, 0.05);
  EXPECT_NEAR(std::sqrt(squares / n), 1, 0.05);
}

TEST(Paint, NoiseIsSmoothWithinItsPeriod) {
  Rng rng(4);
  const cv::Mat1f field = fractal_noise(64, 16.0, 1, rng);
  double near_change = 0, far_change = 0;
  for (int y = 0; y < 64; ++y)
    for (int x = 0; x + 16 < 64; ++x) {
      near_change += std::abs(field(y, x + 1) - field(y, x));
      far_change += std::abs(field(y, x + 16) - field(y, x));
    }
  EXPECT_LT(near_change, 0.3 * far_change);
}

TEST(Paint, LayersByHand) {
  cv::Mat3f image(1, 1, cv::Vec3f(0.8f, 0.4f, 0.2f));
  const cv::Mat1f half(1, 1, 0.5f);
  darken(image, half, 0.5);  // * 0.75
  EXPECT_NEAR(image(0, 0)[0], 0.6, 1e-6);
  cover(image, half, grey(1));  // half way to white
  EXPECT_NEAR(image(0, 0)[1], 0.65, 1e-6);
  multiply(image, half);
  EXPECT_NEAR(image(0, 0)[2], 0.2875, 1e-6);
  const cv::Mat bytes = to_8bit(image);
  EXPECT_EQ(bytes.at<cv::Vec3b>(0, 0), cv::Vec3b(102, 83, 73));
  EXPECT_EQ(to_mask(half).at<uchar>(0, 0), 255);
  EXPECT_EQ(to_mask(half - 0.01f).at<uchar>(0, 0), 0);
}

}  // namespace
}  // namespace flipside::synth::paint_test
