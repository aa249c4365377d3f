#include <gtest/gtest.h>

#include <opencv2/imgproc.hpp>
#include <string>
#include <vector>

#include "flipside/data/synth/synth.h"

namespace flipside::synth::scenes_test {
namespace {

struct Maker {
  const char* name;
  Scene (*make)(int size, bool defect, Rng& rng);
};

class Scenes : public testing::TestWithParam<Maker> {
 protected:
  static Scene make(uint64_t seed, bool defect, int size = 64) {
    Rng rng({seed, 17});
    return GetParam().make(size, defect, rng);
  }
};
INSTANTIATE_TEST_SUITE_P(Synth, Scenes,
                         testing::Values(Maker{"cracks", make_crack_scene},
                                         Maker{"fruit", make_fruit_scene}),
                         [](const auto& maker) { return std::string(maker.param.name); });

bool equal(const cv::Mat& a, const cv::Mat& b) {
  return a.size() == b.size() && a.type() == b.type() && cv::norm(a, b, cv::NORM_INF) == 0;
}

/// Largest change of any channel, per pixel.
cv::Mat1b change(const Scene& scene) {
  cv::Mat difference, channels[3];
  cv::absdiff(scene.image, scene.clean, difference);
  cv::split(difference, channels);
  return cv::max(cv::max(channels[0], channels[1]), channels[2]);
}

TEST_P(Scenes, HaveTheirSizesAndTypes) {
  for (int size : {32, 64, 97}) {
    const Scene scene = make(1, true, size);
    EXPECT_EQ(scene.image.size(), cv::Size(size, size));
    EXPECT_EQ(scene.image.type(), CV_8UC3);
    EXPECT_EQ(scene.clean.size(), cv::Size(size, size));
    EXPECT_EQ(scene.clean.type(), CV_8UC3);
    EXPECT_EQ(scene.mask.size(), cv::Size(size, size));
    EXPECT_EQ(scene.mask.type(), CV_8UC1);
    EXPECT_EQ(cv::countNonZero(scene.mask == 0) + cv::countNonZero(scene.mask == 255), size * size);
  }
}

TEST_P(Scenes, SameSeedSamePixels) {
  const Scene a = make(5, true), b = make(5, true), other = make(6, true);
  EXPECT_TRUE(equal(a.image, b.image) && equal(a.clean, b.clean) && equal(a.mask, b.mask));
  EXPECT_FALSE(equal(a.clean, other.clean));
}

// Everything that is no defect has so the same distribution in both classes.
TEST_P(Scenes, WithAndWithoutDefectAreTheSameScene) {
  for (uint64_t seed = 0; seed < 20; ++seed) {
    const Scene good = make(seed, false);
    EXPECT_TRUE(equal(good.image, make(seed, true).clean));
    EXPECT_TRUE(equal(good.image, good.clean));
    EXPECT_EQ(cv::countNonZero(good.mask), 0);
  }
}

TEST_P(Scenes, TheDefectIsSeenInItsMaskAndNowhereElse) {
  double inside = 0, total = 0;
  for (uint64_t seed = 0; seed < 60; ++seed) {
    const Scene scene = make(seed, true);
    const cv::Mat1b changed = change(scene);
    const int defect = cv::countNonZero(scene.mask);
    EXPECT_GE(defect, 0.012 * 64 * 64);
    EXPECT_LE(defect, 0.13 * 64 * 64);
    // A defect that happens to look like what it hides may leave a few pixels as they were.
    EXPECT_GE(cv::countNonZero(changed & scene.mask), 0.9 * defect) << "seed " << seed;
    // Bits stay equal away from the defect, its soft edge and its finest ends.
    EXPECT_GE(cv::countNonZero(changed == 0), 0.7 * 64 * 64) << "seed " << seed;
    cv::Mat masked;
    changed.copyTo(masked, scene.mask);
    inside += cv::sum(masked)[0];
    total += cv::sum(changed)[0];
  }
  EXPECT_GT(inside, 0.75 * total);
}

// How well "darker than the median of 15 x 15 pixels around it" finds the defects, with the
// threshold that serves it best. What is no crack here is as dark as cracks are.
TEST_P(Scenes, DarknessAloneDoesNotFindTheDefect) {
  std::vector<cv::Mat> darkness, masks;
  for (uint64_t seed = 100; seed < 220; ++seed) {
    const Scene scene = make(seed, true);
    cv::Mat gray, median, below;
    cv::cvtColor(scene.image, gray, cv::COLOR_RGB2GRAY);
    cv::medianBlur(gray, median, 15);
    cv::subtract(median, gray, below);
    darkness.push_back(below);
    masks.push_back(scene.mask);
  }
  double best = 0;
  for (int threshold = 0; threshold < 150; threshold += 3) {
    double both = 0, either = 0;
    for (size_t i = 0; i < masks.size(); ++i) {
      const cv::Mat found = darkness[i] > threshold;
      both += cv::countNonZero(found & masks[i]);
      either += cv::countNonZero(found | masks[i]);
    }
    best = std::max(best, both / either);
  }
  RecordProperty("darkness_iou", std::to_string(best));
  EXPECT_GT(best, 0.05);
  EXPECT_LT(best, 0.38);
}

}  // namespace
}  // namespace flipside::synth::scenes_test
