#include <gtest/gtest.h>

#include <opencv2/imgproc.hpp>

#include "flipside/data/image_io.h"
#include "flipside/eval/evaluator.h"

namespace flipside::darkness_test {
namespace {

TEST(DarknessMap, IsOpenCVsMedianLessTheGray) {
  torch::manual_seed(6);
  const Tensor images = torch::rand({2, 3, 20, 28}), map = darkness_map(images);
  for (int64_t n = 0; n < 2; ++n) {
    cv::Mat gray, median, darker;
    cv::cvtColor(to_image(images[n]), gray, cv::COLOR_RGB2GRAY);
    cv::medianBlur(gray, median, 5);  // a quarter of the shorter side
    cv::subtract(median, gray, darker);
    // Gray is rounded from other weights, to one level more or less.
    const Tensor apart = (255 * (map[n][0] - mask_to_tensor(darker)[0])).abs();
    EXPECT_LT(apart.max().item<double>(), 2.01);
    EXPECT_LT(apart.mean().item<double>(), 0.1);
  }
}

TEST(DarknessMap, IsTheDepthBelowTheLocalMedian) {
  Tensor images = torch::full({2, 3, 32, 32}, 200.0 / 255);
  images[1].slice(/*dim=*/2, 10, 12).fill_(50.0 / 255);  // a dark line, two pixels wide
  images[0].slice(2, 10, 12).fill_(250.0 / 255);         // and a bright one
  const Tensor map = darkness_map(images);
  ASSERT_EQ(map.sizes(), (std::vector<int64_t>{2, 1, 32, 32}));
  EXPECT_EQ(map[0].sum().item<double>(), 0);
  Tensor expected = torch::zeros({1, 32, 32});
  expected.slice(2, 10, 12).fill_(150.0 / 255);
  EXPECT_TRUE(torch::allclose(map[1], expected));
}

}  // namespace
}  // namespace flipside::darkness_test
