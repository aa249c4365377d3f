#include "flipside/data/transforms.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <opencv2/imgproc.hpp>
#include <set>
#include <vector>

namespace flipside::transforms_test {
namespace {

DataConfig still() {
  DataConfig config;
  config.flip = config.turn = false;
  config.zoom = config.shift = config.gain = config.offset = config.tint = 0;
  return config;
}

/// Every pixel has a value of its own; the mask marks the values above 40.
Picture numbered(int side) {
  const Tensor numbers = torch::arange(side * side).view({side, side});
  return {numbers.unsqueeze(2).expand({side, side, 3}).to(torch::kUInt8).contiguous(),
          (numbers > 40).to(torch::kUInt8).mul(255)};
}

Tensor plain_image(int side, int value) {
  return torch::full({side, side, 3}, value, torch::kUInt8);
}

Tensor plain_mask(int side, int value) { return torch::full({side, side}, value, torch::kUInt8); }

/// Value of a gray picture's pixel.
int at(const Tensor& image, int y, int x) { return image[y][x][0].item<int>(); }

bool equal(const Picture& a, const Picture& b) {
  return torch::equal(a.image, b.image) && torch::equal(a.mask, b.mask);
}

std::vector<int> values(const Tensor& image) {
  std::vector<int> result;
  for (int y = 0; y < image.size(0); ++y)
    for (int x = 0; x < image.size(1); ++x) result.push_back(at(image, y, x));
  return result;
}

TEST(TrainingTransform, WithEverythingOffChangesNothing) {
  const Picture picture = numbered(8);
  Rng rng(1);
  const Picture result = training_transform(still())(picture, rng);
  EXPECT_TRUE(equal(result, picture));
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
        ASSERT_EQ(result.mask[y][x].item<int>() == 255, at(result.image, y, x) > 40);
  }
  EXPECT_EQ(seen, expected);
}

TEST(TrainingTransform, LeavesItsInputAlone) {
  const Picture picture = numbered(8), copy{picture.image.clone(), picture.mask.clone()};
  const Transform transform = training_transform(DataConfig());
  Rng rng(3);
  for (int i = 0; i < 20; ++i) transform(picture, rng);
  EXPECT_TRUE(equal(picture, copy));
}

TEST(TrainingTransform, SameSeedSamePicture) {
  const Transform transform = training_transform(DataConfig());
  Rng a({1, 2}), b({1, 2});
  const Picture picture = numbered(12);
  for (int i = 0; i < 5; ++i) EXPECT_TRUE(equal(transform(picture, a), transform(picture, b)));
}

TEST(TrainingTransform, ShiftMovesByAtMostItsShare) {
  DataConfig config = still();
  config.shift = 0.1;
  const Picture picture{plain_image(41, 0), plain_mask(41, 0)};
  picture.image[20][20].fill_(240);
  picture.mask[20][20].fill_(255);
  const Transform transform = training_transform(config);
  Rng rng(4);
  double largest = 0;
  for (int i = 0; i < 200; ++i) {
    const Tensor moved = transform(picture, rng).image;
    double sum = 0, x_sum = 0, y_sum = 0;  // centre of light
    for (int y = 0; y < 41; ++y)
      for (int x = 0; x < 41; ++x) {
        const double light = at(moved, y, x);
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
  const Picture picture{plain_image(81, 0), plain_mask(81, 0)};
  for (int y = 0; y < 81; ++y)
    for (int x = 0; x < 81; ++x)
      if (std::hypot(x - 40, y - 40) <= 20) picture.mask[y][x].fill_(255);
  picture.image.copy_(picture.mask.unsqueeze(2));
  const auto count = [](const Tensor& mask) {
    return static_cast<double>((mask > 0).sum().item<int64_t>());
  };
  const double area = count(picture.mask);
  const Transform transform = training_transform(config);
  Rng rng(5);
  double least = 2, most = 0;
  for (int i = 0; i < 100; ++i) {
    const Picture result = transform(picture, rng);
    const double scale =
        std::sqrt(result.image.to(torch::kDouble).sum().item<double>() / 3 / 255 / area);
    EXPECT_NEAR(std::sqrt(count(result.mask) / area), scale, 0.03);
    EXPECT_EQ(at(result.image, 40, 40), 255);
    least = std::min(least, scale);
    most = std::max(most, scale);
  }
  EXPECT_NEAR(least, 0.8, 0.02);
  EXPECT_NEAR(most, 1.2, 0.02);
}

TEST(TrainingTransform, WarpsAsOpenCVDoes) {
  DataConfig config = still();
  config.zoom = 0.2;
  config.shift = 0.2;
  constexpr int kSide = 24;
  torch::manual_seed(5);
  const Picture picture{torch::randint(0, 256, {kSide, kSide, 3}).to(torch::kUInt8),
                        torch::randint(0, 2, {kSide, kSide}).to(torch::kUInt8).mul(255)};
  const auto warped = [](const Tensor& pixels, const cv::Matx23d& map, int interpolation) {
    const int type = pixels.dim() == 3 ? CV_8UC3 : CV_8UC1;
    Tensor result = torch::empty_like(pixels);
    cv::Mat target(kSide, kSide, type, result.data_ptr());
    cv::warpAffine(cv::Mat(kSide, kSide, type, pixels.data_ptr()), target, map, target.size(),
                   interpolation, cv::BORDER_REFLECT_101);
    return result.to(torch::kFloat32);
  };
  int warps = 0;
  for (uint64_t seed = 0; seed < 20; ++seed) {
    Rng rng(seed), same(seed);
    const Picture result = training_transform(config)(picture, rng);
    if (!same.chance(0.5)) continue;
    const double scale = same.uniform(0.8, 1.2);
    const double x = kSide * same.uniform(-0.2, 0.2), y = kSide * same.uniform(-0.2, 0.2);
    const double centre = 0.5 * (kSide - 1);
    const cv::Matx23d map(scale, 0, (1 - scale) * centre + x, 0, scale, (1 - scale) * centre + y);
    // OpenCV rounds places to 1/32 of a pixel.
    const Tensor error =
        (result.image.to(torch::kFloat32) - warped(picture.image, map, cv::INTER_LINEAR)).abs();
    EXPECT_LT(error.max().item<double>(), 255.0 / 16);
    EXPECT_LT(error.mean().item<double>(), 2.0);
    const Tensor wrong = result.mask != warped(picture.mask, map, cv::INTER_NEAREST);
    EXPECT_LT(wrong.to(torch::kFloat32).mean().item<double>(), 0.05);
    ++warps;
  }
  EXPECT_GT(warps, 5);
}

TEST(TrainingTransform, WarpsReflectAtTheBorder) {
  DataConfig config = still();
  config.shift = 0.3;
  config.zoom = 0.3;
  const Picture picture{plain_image(20, 90), {}};
  Rng rng(6);
  for (int i = 0; i < 20; ++i) {
    const Picture result = training_transform(config)(picture, rng);
    EXPECT_TRUE(torch::equal(result.image, picture.image));  // no black edge comes in
    EXPECT_FALSE(result.mask.defined());
  }
}

TEST(TrainingTransform, LightIsAGainAndAnOffsetThatSaturate) {
  DataConfig config = still();
  config.gain = 0.5;
  config.offset = 0.2;
  const Picture picture{plain_image(3, 0), plain_mask(3, 255)};
  const int before[] = {100, 120, 250};
  for (int x = 0; x < 3; ++x) picture.image[0][x].fill_(before[x]);
  const Transform transform = training_transform(config);
  bool saturated = false;
  for (uint64_t seed = 0; seed < 50; ++seed) {
    Rng rng(seed), same(seed);
    const double gain = same.uniform(0.5, 1.5), offset = 255 * same.uniform(-0.2, 0.2);
    const Picture result = transform(picture, rng);
    for (int x = 0; x < 3; ++x) {
      const double lit = before[x] * gain + offset;
      saturated |= lit > 256;
      EXPECT_NEAR(at(result.image, 0, x), std::clamp(lit, 0.0, 255.0), 0.51);
      EXPECT_EQ(result.mask[0][x].item<int>(), 255);
    }
  }
  EXPECT_TRUE(saturated);
}

TEST(TrainingTransform, TintIsAGainPerColour) {
  DataConfig config = still();
  config.tint = 0.3;
  const Picture picture{plain_image(2, 250), plain_mask(2, 255)};
  picture.image[0][0].copy_(torch::tensor({50, 100, 150}));
  const Transform transform = training_transform(config);
  for (uint64_t seed = 0; seed < 50; ++seed) {
    Rng rng(seed), same(seed);
    const Picture result = transform(picture, rng);
    for (int channel = 0; channel < 3; ++channel) {
      const double factor = same.uniform(0.7, 1.3);
      for (int x = 0; x < 2; ++x)
        EXPECT_NEAR(result.image[0][x][channel].item<int>(),
                    std::min(picture.image[0][x][channel].item<int>() * factor, 255.0), 0.51);
    }
    EXPECT_EQ(result.mask[0][0].item<int>(), 255);
  }
  // What has no colour gets none.
  const Picture gray{plain_image(2, 90), {}};
  Rng rng(1);
  EXPECT_TRUE(torch::equal(transform(gray, rng).image, gray.image));
}

}  // namespace
}  // namespace flipside::transforms_test
