#include "flipside/data/transforms.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <vector>

namespace flipside {
namespace {

DataConfig still() {
  DataConfig config;
  config.flip = config.turn = false;
  config.zoom = config.shift = config.gain = config.offset = 0;
  return config;
}

/// Every pixel has a value of its own; the mask marks the values above 40.
Picture numbered(int side) {
  Picture picture{cv::Mat(side, side, CV_8UC3), cv::Mat(side, side, CV_8UC1)};
  for (int y = 0; y < side; ++y)
    for (int x = 0; x < side; ++x) {
      const auto value = static_cast<uint8_t>(y * side + x);
      picture.image.at<cv::Vec3b>(y, x) = cv::Vec3b::all(value);
      picture.mask.at<uint8_t>(y, x) = value > 40 ? 255 : 0;
    }
  return picture;
}

std::vector<int> values(const cv::Mat& image) {
  std::vector<int> result;
  for (int y = 0; y < image.rows; ++y)
    for (int x = 0; x < image.cols; ++x) result.push_back(image.at<cv::Vec3b>(y, x)[0]);
  return result;
}

TEST(TrainingTransform, WithEverythingOffChangesNothing) {
  const Picture picture = numbered(8);
  Rng rng(1);
  const Picture result = training_transform(still())(picture, rng);
  EXPECT_EQ(cv::norm(result.image, picture.image, cv::NORM_INF), 0);
  EXPECT_EQ(cv::norm(result.mask, picture.mask, cv::NORM_INF), 0);
}

TEST(TrainingTransform, FlipsAndTurnsGiveTheEightSymmetriesExactly) {
  DataConfig config = still();
  config.flip = config.turn = true;
  const Picture picture = numbered(8);
  // The eight symmetries of the square by index arithmetic.
  std::set<std::vector<int>> expected, seen;
  for (int symmetry = 0; symmetry < 8; ++symmetry) {
    std::vector<int> result;
    for (int y = 0; y < 8; ++y)
      for (int x = 0; x < 8; ++x) {
        const int u = symmetry & 1 ? 7 - x : x, v = symmetry & 2 ? 7 - y : y;
        result.push_back(symmetry & 4 ? u * 8 + v : v * 8 + u);
      }
    expected.insert(result);
  }
  Rng rng(2);
  const Transform transform = training_transform(config);
  for (int i = 0; i < 200; ++i) {
    const Picture result = transform(picture, rng);
    seen.insert(values(result.image));
    for (int y = 0; y < 8; ++y)
      for (int x = 0; x < 8; ++x)
        ASSERT_EQ(result.mask.at<uint8_t>(y, x) == 255, result.image.at<cv::Vec3b>(y, x)[0] > 40);
  }
  EXPECT_EQ(seen, expected);
}

TEST(TrainingTransform, LeavesItsInputAlone) {
  const Picture picture = numbered(8), copy{picture.image.clone(), picture.mask.clone()};
  const Transform transform = training_transform(DataConfig());
  Rng rng(3);
  for (int i = 0; i < 20; ++i) transform(picture, rng);
  EXPECT_EQ(cv::norm(picture.image, copy.image, cv::NORM_INF), 0);
  EXPECT_EQ(cv::norm(picture.mask, copy.mask, cv::NORM_INF), 0);
}

TEST(TrainingTransform, SameSeedSamePicture) {
  const Transform transform = training_transform(DataConfig());
  Rng a({1, 2}), b({1, 2});
  const Picture picture = numbered(12);
  for (int i = 0; i < 5; ++i)
    EXPECT_EQ(cv::norm(transform(picture, a).image, transform(picture, b).image, cv::NORM_INF), 0);
}

TEST(TrainingTransform, ShiftMovesByAtMostItsShare) {
  DataConfig config = still();
  config.shift = 0.1;
  Picture picture{cv::Mat(41, 41, CV_8UC3, cv::Scalar(0, 0, 0)),
                  cv::Mat(41, 41, CV_8UC1, cv::Scalar(0))};
  picture.image.at<cv::Vec3b>(20, 20) = {240, 240, 240};
  picture.mask.at<uint8_t>(20, 20) = 255;
  const Transform transform = training_transform(config);
  Rng rng(4);
  double largest = 0;
  for (int i = 0; i < 200; ++i) {
    const cv::Mat moved = transform(picture, rng).image;
    double sum = 0, x_sum = 0, y_sum = 0;  // centre of light
    for (int y = 0; y < 41; ++y)
      for (int x = 0; x < 41; ++x) {
        const double light = moved.at<cv::Vec3b>(y, x)[0];
        sum += light;
        x_sum += light * x;
        y_sum += light * y;
      }
    EXPECT_NEAR(sum, 240, 4);
    for (double offset : {x_sum / sum - 20, y_sum / sum - 20}) {
      EXPECT_LE(std::abs(offset), 4.1 + 0.1);
      largest = std::max(largest, std::abs(offset));
    }
  }
  EXPECT_GT(largest, 3.5);
}

TEST(TrainingTransform, ZoomScalesAboutTheCentre) {
  DataConfig config = still();
  config.zoom = 0.2;
  // A disc of radius 20: its area grows with the square of the scale, its centre stays.
  Picture picture{cv::Mat(81, 81, CV_8UC3, cv::Scalar(0, 0, 0)), cv::Mat(81, 81, CV_8UC1)};
  for (int y = 0; y < 81; ++y)
    for (int x = 0; x < 81; ++x)
      picture.mask.at<uint8_t>(y, x) = std::hypot(x - 40, y - 40) <= 20 ? 255 : 0;
  picture.image.setTo(cv::Scalar(255, 255, 255), picture.mask);
  const double area = cv::countNonZero(picture.mask);
  const Transform transform = training_transform(config);
  Rng rng(5);
  double least = 2, most = 0;
  for (int i = 0; i < 100; ++i) {
    const Picture result = transform(picture, rng);
    const double scale = std::sqrt(cv::sum(result.image)[0] / 255 / area);
    EXPECT_NEAR(std::sqrt(cv::countNonZero(result.mask) / area), scale, 0.03);
    EXPECT_EQ(result.image.at<cv::Vec3b>(40, 40)[0], 255);
    least = std::min(least, scale);
    most = std::max(most, scale);
  }
  EXPECT_NEAR(least, 0.8, 0.02);
  EXPECT_NEAR(most, 1.2, 0.02);
}

TEST(TrainingTransform, WarpsReflectAtTheBorder) {
  DataConfig config = still();
  config.shift = 0.3;
  config.zoom = 0.3;
  Picture picture{cv::Mat(20, 20, CV_8UC3, cv::Scalar(90, 90, 90)), {}};
  Rng rng(6);
  for (int i = 0; i < 20; ++i) {
    const Picture result = training_transform(config)(picture, rng);
    EXPECT_EQ(cv::norm(result.image, picture.image, cv::NORM_INF), 0);  // no black edge comes in
    EXPECT_TRUE(result.mask.empty());
  }
}

TEST(TrainingTransform, LightIsAGainAndAnOffsetThatSaturate) {
  DataConfig config = still();
  config.gain = 0.5;
  config.offset = 0.2;
  Picture picture{cv::Mat(1, 3, CV_8UC3), cv::Mat(1, 3, CV_8UC1, cv::Scalar(255))};
  const int before[] = {100, 120, 250};
  for (int x = 0; x < 3; ++x)
    picture.image.at<cv::Vec3b>(0, x) = cv::Vec3b::all(static_cast<uint8_t>(before[x]));
  const Transform transform = training_transform(config);
  bool saturated = false;
  for (uint64_t seed = 0; seed < 50; ++seed) {
    Rng rng(seed), same(seed);
    const double gain = same.uniform(0.5, 1.5), offset = 255 * same.uniform(-0.2, 0.2);
    const Picture result = transform(picture, rng);
    for (int x = 0; x < 3; ++x) {
      const double lit = before[x] * gain + offset;
      saturated |= lit > 256;
      EXPECT_NEAR(result.image.at<cv::Vec3b>(0, x)[1], std::clamp(lit, 0.0, 255.0), 0.51);
      EXPECT_EQ(result.mask.at<uint8_t>(0, x), 255);
    }
  }
  EXPECT_TRUE(saturated);
}

TEST(TrainingTransform, TintIsAGainPerColour) {
  DataConfig config = still();
  config.tint = 0.3;
  Picture picture{cv::Mat(1, 2, CV_8UC3), cv::Mat(1, 2, CV_8UC1, cv::Scalar(255))};
  picture.image.at<cv::Vec3b>(0, 0) = {50, 100, 150};
  picture.image.at<cv::Vec3b>(0, 1) = {250, 250, 250};
  const Transform transform = training_transform(config);
  for (uint64_t seed = 0; seed < 50; ++seed) {
    Rng rng(seed), same(seed);
    const Picture result = transform(picture, rng);
    for (int channel = 0; channel < 3; ++channel) {
      const double factor = same.uniform(0.7, 1.3);
      for (int x = 0; x < 2; ++x)
        EXPECT_NEAR(result.image.at<cv::Vec3b>(0, x)[channel],
                    std::min(picture.image.at<cv::Vec3b>(0, x)[channel] * factor, 255.0), 0.51);
    }
    EXPECT_EQ(result.mask.at<uint8_t>(0, 0), 255);
  }
}

}  // namespace
}  // namespace flipside
