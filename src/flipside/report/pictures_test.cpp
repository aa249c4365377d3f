#include "flipside/report/pictures.h"

#include <gtest/gtest.h>

#include <opencv2/imgproc.hpp>

#include "flipside/core/error.h"

namespace flipside::pictures_test {
namespace {

bool equal(const cv::Mat& a, const cv::Mat& b) {
  return a.size() == b.size() && a.type() == b.type() && cv::norm(a, b, cv::NORM_INF) == 0;
}

TEST(Heatmap, RunsFromBlackThroughRedAndYellowToWhiteOnAFixedScale) {
  const auto scale = static_cast<float>(kHeatScale);
  const Tensor saliency =
      torch::tensor({0.0f, scale / 3, scale * 2 / 3, scale, 1.0f}).view({1, 1, 5});
  const cv::Mat picture = heatmap(saliency);
  ASSERT_EQ(picture.size(), cv::Size(5, 1));
  EXPECT_EQ(picture.at<cv::Vec3b>(0), cv::Vec3b(0, 0, 0));
  EXPECT_EQ(picture.at<cv::Vec3b>(1), cv::Vec3b(255, 0, 0));
  EXPECT_EQ(picture.at<cv::Vec3b>(2), cv::Vec3b(255, 255, 0));
  EXPECT_EQ(picture.at<cv::Vec3b>(3), cv::Vec3b(255, 255, 255));
  EXPECT_EQ(picture.at<cv::Vec3b>(4), cv::Vec3b(255, 255, 255));
  EXPECT_THROW(heatmap(torch::zeros({2, 3, 3})), Error);
}

TEST(Overlay, MarksTheMaskAndLeavesTheRest) {
  const cv::Mat image(20, 30, CV_8UC3, cv::Scalar(10, 200, 30));
  cv::Mat mask = cv::Mat::zeros(20, 30, CV_8UC1);
  mask(cv::Rect(10, 5, 6, 6)).setTo(255);
  const cv::Mat picture = overlay(image, mask);
  EXPECT_EQ(picture.at<cv::Vec3b>(0, 0), cv::Vec3b(10, 200, 30));
  EXPECT_EQ(picture.at<cv::Vec3b>(8, 9), cv::Vec3b(255, 0, 170));  // the outline, just outside
  const cv::Vec3b inside = picture.at<cv::Vec3b>(8, 12);
  EXPECT_NEAR(inside[0], 0.7 * 10 + 0.3 * 255, 1);
  EXPECT_NEAR(inside[1], 0.7 * 200, 1);
  EXPECT_TRUE(equal(overlay(image, cv::Mat::zeros(20, 30, CV_8UC1)), image));
  EXPECT_THROW(overlay(image, cv::Mat::zeros(20, 31, CV_8UC1)), Error);
}

TEST(PictureGrid, PlacesCellsAndText) {
  const cv::Mat red(8, 8, CV_8UC3, cv::Scalar(255, 0, 0));
  const cv::Mat wide(10, 40, CV_8UC3, cv::Scalar(0, 0, 255));
  const cv::Mat plain = picture_grid({{red, red}, {wide}}, {}, {}, 40);
  EXPECT_EQ(plain.size(), cv::Size(4 + 2 * 44, 4 + 2 * 44));
  EXPECT_EQ(plain.at<cv::Vec3b>(4 + 20, 4 + 20), cv::Vec3b(255, 0, 0));
  EXPECT_EQ(plain.at<cv::Vec3b>(4 + 20, 4 + 44 + 20), cv::Vec3b(255, 0, 0));
  EXPECT_EQ(plain.at<cv::Vec3b>(4 + 44 + 20, 4 + 1), cv::Vec3b(0, 0, 255));      // fills the width
  EXPECT_EQ(plain.at<cv::Vec3b>(4 + 44 + 2, 4 + 20), cv::Vec3b(255, 255, 255));  // keeps its shape

  const cv::Mat text = picture_grid({{red}}, {"image"}, {"crack"}, 40);
  EXPECT_GT(text.rows, 4 + 44);
  EXPECT_GT(text.cols, 4 + 44);
  cv::Mat gray;
  cv::cvtColor(text(cv::Rect(0, 0, text.cols, 16)), gray, cv::COLOR_RGB2GRAY);
  EXPECT_GT(cv::countNonZero(gray < 128), 20);  // the caption's ink
}

TEST(PictureGrid, CutsTextThatIsTooLong) {
  const cv::Mat cell(8, 8, CV_8UC3, cv::Scalar(255, 0, 0));
  const std::string endless(500, 'w');
  const cv::Mat picture = picture_grid({{cell}}, {endless}, {endless}, 50);
  EXPECT_LE(picture.cols, 4 + 2 * 50 + 54);
  EXPECT_THROW(picture_grid({{cell}}, {}, {}, 0), Error);
}

}  // namespace
}  // namespace flipside::pictures_test
