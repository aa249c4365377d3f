#include "flipside/explain/measure.h"

#include "flipside/explain/mask_image.h"

#include <gtest/gtest.h>

#include <cmath>
#include <opencv2/imgproc.hpp>

#include "flipside/explain/thinning.h"

namespace flipside::measure_test {
namespace {

constexpr double kPi = 3.14159265358979;

cv::Mat canvas(int width = 300, int height = 300) { return cv::Mat::zeros(height, width, CV_8UC1); }

/// Pixels whose centre lies within half of `width` of the segment, without rounded ends.
cv::Mat draw_bar(cv::Point2d from, cv::Point2d to, double width) {
  cv::Mat mask = canvas();
  const double length = std::hypot(to.x - from.x, to.y - from.y);
  const cv::Point2d along((to.x - from.x) / length, (to.y - from.y) / length);
  for (int y = 0; y < mask.rows; ++y)
    for (int x = 0; x < mask.cols; ++x) {
      const cv::Point2d offset(x - from.x, y - from.y);
      const double forward = offset.dot(along), aside = offset.x * along.y - offset.y * along.x;
      if (forward >= 0 && forward <= length && std::abs(aside) <= width / 2)
        mask.at<uint8_t>(y, x) = 255;
    }
  return mask;
}

cv::Mat draw_disc(double radius) {
  cv::Mat mask = canvas();
  for (int y = 0; y < mask.rows; ++y)
    for (int x = 0; x < mask.cols; ++x)
      if (std::hypot(x - 150, y - 150) <= radius) mask.at<uint8_t>(y, x) = 255;
  return mask;
}

Region only_region(const cv::Mat& mask) {
  const auto regions = measure_regions(mask);
  EXPECT_EQ(regions.size(), 1u);
  return regions.at(0);
}

cv::Mat random_blobs(int seed, int size) {
  cv::Mat noise(size, size, CV_8UC1);
  cv::RNG rng(seed);
  rng.fill(noise, cv::RNG::UNIFORM, 0, 256);
  if (seed % 3 != 0) cv::GaussianBlur(noise, noise, {}, seed % 3);
  return noise > 128;
}

/// Guo and Hall's thinning as the paper says it: every pixel looked at in every turn.
cv::Mat thin_slowly(const cv::Mat& mask) {
  cv::Mat now;
  cv::copyMakeBorder(mask, now, 1, 1, 1, 1, cv::BORDER_CONSTANT, cv::Scalar(0));
  int unchanged = 0;
  for (int turn = 0; unchanged < 2; turn = 1 - turn) {
    cv::Mat next = now.clone();
    for (int y = 1; y < now.rows - 1; ++y)
      for (int x = 1; x < now.cols - 1; ++x) {
        const auto at = [&](int dx, int dy) { return now.at<uint8_t>(y + dy, x + dx) != 0; };
        const bool p2 = at(0, -1), p3 = at(1, -1), p4 = at(1, 0), p5 = at(1, 1), p6 = at(0, 1),
                   p7 = at(-1, 1), p8 = at(-1, 0), p9 = at(-1, -1);
        const int crossings =
            (!p2 && (p3 || p4)) + (!p4 && (p5 || p6)) + (!p6 && (p7 || p8)) + (!p8 && (p9 || p2));
        const int first = (p9 || p2) + (p3 || p4) + (p5 || p6) + (p7 || p8);
        const int second = (p2 || p3) + (p4 || p5) + (p6 || p7) + (p8 || p9);
        const int pairs = std::min(first, second);
        const bool side = turn == 0 ? (p2 || p3 || !p5) && p4 : (p6 || p7 || !p9) && p8;
        if (crossings == 1 && pairs >= 2 && pairs <= 3 && !side) next.at<uint8_t>(y, x) = 0;
      }
    unchanged = cv::countNonZero(next != now) == 0 ? unchanged + 1 : 0;
    now = next;
  }
  remove_corners(now);
  return now(cv::Rect(1, 1, mask.cols, mask.rows)).clone();
}

int regions_of(const cv::Mat& mask, int connectivity) {
  cv::Mat labels;
  return cv::connectedComponents(mask, labels, connectivity) - 1;
}

/// 4-connected regions of the background, the one around everything included.
int holes_of(const cv::Mat& mask) {
  cv::Mat frame;
  cv::copyMakeBorder(mask, frame, 1, 1, 1, 1, cv::BORDER_CONSTANT, cv::Scalar(0));
  return regions_of(frame == 0, 4);
}

TEST(Thin, KeepsRegionsAndHolesAndIsOnePixelWide) {
  for (int seed = 0; seed < 30; ++seed) {
    const cv::Mat mask = random_blobs(seed, 60);
    const cv::Mat lines = thin(mask);
    EXPECT_EQ(cv::countNonZero(lines & ~mask), 0);
    EXPECT_EQ(regions_of(lines, 8), regions_of(mask, 8)) << seed;
    EXPECT_EQ(holes_of(lines), holes_of(mask)) << seed;
    cv::Mat frame;
    cv::copyMakeBorder(lines, frame, 1, 1, 1, 1, cv::BORDER_CONSTANT, cv::Scalar(0));
    for (int y = 1; y < frame.rows - 1; ++y)
      for (int x = 1; x < frame.cols - 1; ++x) {
        if (frame.at<uint8_t>(y, x) == 0) continue;
        // No pixel but an end could go without changing what is connected.
        const cv::Mat around = frame(cv::Rect(x - 1, y - 1, 3, 3)).clone();
        if (cv::countNonZero(around) <= 2) continue;
        cv::Mat without = around.clone();
        without.at<uint8_t>(1, 1) = 0;
        EXPECT_FALSE(regions_of(without, 8) == 1 && holes_of(without) == holes_of(around))
            << seed << " at " << x << "," << y;
      }
  }
}

TEST(Thin, IsTheParallelAlgorithmDoneSlowly) {
  for (int seed = 0; seed < 12; ++seed) {
    const cv::Mat mask = random_blobs(seed, 80);
    EXPECT_EQ(cv::countNonZero(thin(mask) != thin_slowly(mask)), 0) << seed;
  }
  cv::Mat disc = canvas(90, 80);
  cv::circle(disc, {45, 40}, 30, cv::Scalar(255), cv::FILLED);
  EXPECT_EQ(cv::countNonZero(thin(disc) != thin_slowly(disc)), 0);
}

TEST(Thin, TakesTheSmallestAndTheFullest) {
  EXPECT_EQ(cv::countNonZero(thin(cv::Mat(1, 1, CV_8UC1, cv::Scalar(255)))), 1);
  EXPECT_EQ(cv::countNonZero(thin(cv::Mat::zeros(5, 4, CV_8UC1))), 0);
  EXPECT_EQ(regions_of(thin(cv::Mat(40, 70, CV_8UC1, cv::Scalar(255))), 8), 1);
  EXPECT_EQ(regions_of(thin(cv::Mat(2, 2, CV_8UC1, cv::Scalar(255))), 8), 1);
}

TEST(MeasureRegions, LinesAlongTheAxes) {
  for (int width : {1, 2, 3, 4, 5, 8, 9}) {
    for (bool upright : {false, true}) {
      cv::Mat mask = canvas();
      const cv::Rect bar(40, 50, upright ? width : 150, upright ? 150 : width);
      mask(bar) = 255;
      const Region region = only_region(mask);
      EXPECT_EQ(region.box.area, 150 * width);
      EXPECT_EQ(region.box.x, bar.x);
      EXPECT_EQ(region.box.width, bar.width);
      EXPECT_NEAR(region.length, 150, 0.03 * 150) << width;
      EXPECT_NEAR(region.mean_width, width, 0.1 + 0.03 * width) << width;
      EXPECT_NEAR(region.max_width, width, 1e-3) << width;
    }
  }
}

TEST(MeasureRegions, LinesInEveryDirection) {
  for (double width : {1.5, 3.0, 6.0, 11.0})
    for (int degrees = 5; degrees < 180; degrees += 10) {
      const double angle = degrees * kPi / 180, length = 180;
      const cv::Point2d half(length / 2 * std::cos(angle), length / 2 * std::sin(angle));
      const cv::Point2d middle(150, 150);
      const Region region = only_region(draw_bar(middle - half, middle + half, width));
      EXPECT_NEAR(region.length, length, 0.03 * length) << degrees << " " << width;
      EXPECT_NEAR(region.mean_width, width, 0.8) << degrees << " " << width;
      EXPECT_NEAR(region.max_width, width, 1.2) << degrees << " " << width;
      EXPECT_NEAR(region.length * region.mean_width, static_cast<double>(region.box.area),
                  (0.04 + 0.8 / width) * static_cast<double>(region.box.area));
    }
}

TEST(MeasureRegions, BendsForksAndRings) {
  cv::Mat bend = canvas();
  bend(cv::Rect(30, 30, 5, 120)) = 255;
  bend(cv::Rect(30, 145, 150, 5)) = 255;
  const Region l_shape = only_region(bend);
  EXPECT_NEAR(l_shape.length, 117.5 + 147.5, 8);  // along the middle of both arms
  EXPECT_NEAR(l_shape.mean_width, 5, 0.3);

  const cv::Point2d centre(150, 150);
  cv::Mat fork = canvas();
  for (int degrees : {90, 210, 330}) {
    const double angle = degrees * kPi / 180;
    fork |= draw_bar(centre, centre + 100 * cv::Point2d(std::cos(angle), std::sin(angle)), 5);
  }
  const Region y_shape = only_region(fork);
  EXPECT_NEAR(y_shape.length, 300, 9);
  EXPECT_NEAR(y_shape.mean_width, 5, 0.8);

  const cv::Mat ring = draw_disc(83.5) & ~draw_disc(76.5);
  const Region o_shape = only_region(ring);
  EXPECT_NEAR(o_shape.length, 2 * kPi * 80, 0.03 * 2 * kPi * 80);
  EXPECT_NEAR(o_shape.mean_width, 7, 0.8);
}

TEST(MeasureRegions, DiscsMeasureTheirDiameter) {
  for (double radius : {1.5, 2.5, 5.0, 12.0, 40.3}) {
    const Region region = only_region(draw_disc(radius));
    EXPECT_NEAR(region.length, 2 * radius, 1.5 + 0.06 * radius) << radius;
    EXPECT_NEAR(region.max_width, 2 * radius, 1.5) << radius;
  }
  const Region pixel = only_region(cv::Mat(1, 1, CV_8UC1, cv::Scalar(255)));
  EXPECT_DOUBLE_EQ(pixel.length, 1);
  EXPECT_DOUBLE_EQ(pixel.mean_width, 1);
  EXPECT_TRUE(measure_regions(canvas(7, 5)).empty());
}

TEST(MeasureRegions, ARoughBorderAddsNoLength) {
  cv::Mat mask = canvas();
  cv::RNG rng(4);
  for (int x = 30; x < 270; ++x) {
    const int above = rng.uniform(0, 3), below = rng.uniform(0, 3);
    mask(cv::Rect(x, 150 - 4 - above, 1, 9 + above + below)) = 255;
  }
  const Region region = only_region(mask);
  EXPECT_NEAR(region.length, 240, 0.06 * 240);
  EXPECT_NEAR(region.mean_width, 10, 1.5);
}

TEST(MeasureRegions, EachRegionByItselfInTheOrderOfItsBoxes) {
  cv::Mat mask = canvas();
  mask(cv::Rect(10, 10, 3, 100)) = 255;
  mask(cv::Rect(14, 10, 5, 120)) = 255;  // one pixel of background between
  mask(cv::Rect(200, 250, 100, 50)) = 255;
  const auto regions = measure_regions(mask);
  const auto boxes = mask_boxes(mask);
  ASSERT_EQ(regions.size(), 3u);
  for (size_t i = 0; i < regions.size(); ++i) EXPECT_EQ(regions[i].box.area, boxes[i].area);
  EXPECT_NEAR(regions[1].mean_width, 5, 0.2);
  EXPECT_NEAR(regions[2].mean_width, 3, 0.2);
  EXPECT_NEAR(regions[2].length, 100, 3);
}

TEST(SkeletonLength, IsThatOfTheSmoothedLines) {
  cv::Mat straight = cv::Mat::zeros(9, 40, CV_8UC1), point = straight.clone();
  straight.row(4).setTo(255);
  EXPECT_NEAR(skeleton_length(straight), 39, 1e-9);
  point.at<uint8_t>(4, 7) = 255;
  EXPECT_EQ(skeleton_length(point), 0);
  cv::Mat diagonal = cv::Mat::eye(30, 30, CV_8UC1);
  EXPECT_NEAR(skeleton_length(diagonal), 29 * std::sqrt(2.0), 1e-9);
  // A fork adds its three arms, a closed line its circumference.
  straight.col(20).rowRange(4, 9).setTo(255);
  EXPECT_NEAR(skeleton_length(straight), 39 + 4, 1e-9);
  cv::Mat square = cv::Mat::zeros(60, 60, CV_8UC1);
  cv::rectangle(square, cv::Rect(5, 5, 50, 50), cv::Scalar(255), 1);
  EXPECT_NEAR(skeleton_length(square), 4 * 49, 12) << "corners are rounded off";
}

}  // namespace
}  // namespace flipside::measure_test
