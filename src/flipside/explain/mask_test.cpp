#include "flipside/explain/mask.h"

#include <gtest/gtest.h>

#include <cmath>
#include <opencv2/imgproc.hpp>

#include "flipside/core/error.h"
#include "flipside/data/image_io.h"
#include "flipside/explain/guided_filter.h"
#include "flipside/explain/mask_image.h"

namespace flipside::mask_test {
namespace {

Tensor map_from(std::vector<std::vector<float>> rows) {
  const auto height = static_cast<int64_t>(rows.size());
  const auto width = static_cast<int64_t>(rows[0].size());
  Tensor map = torch::empty({1, 1, height, width});
  for (int64_t y = 0; y < height; ++y)
    for (int64_t x = 0; x < width; ++x) map[0][0][y][x] = rows[y][x];
  return map;
}

MaskOptions raw_options(double threshold) { return {threshold, /*min_area=*/0}; }

TEST(SaliencyMap, IsTheMeanAbsoluteChangeOverChannels) {
  const Tensor image = torch::zeros({1, 3, 1, 2});
  Tensor counterfactual = torch::zeros({1, 3, 1, 2});
  counterfactual[0][0][0][1] = 0.3;
  counterfactual[0][2][0][1] = 0.6;
  const Tensor saliency = saliency_map(image, counterfactual);
  ASSERT_EQ(saliency.sizes(), (std::vector<int64_t>{1, 1, 1, 2}));
  EXPECT_FLOAT_EQ(saliency[0][0][0][0].item<float>(), 0.0f);
  EXPECT_FLOAT_EQ(saliency[0][0][0][1].item<float>(), 0.3f);
  EXPECT_THROW(saliency_map(image, torch::zeros({1, 3, 2, 2})), Error);
}

TEST(SaliencyMap, LeavesOutACastOfColourIfAsked) {
  torch::manual_seed(3);
  const Tensor image = 0.3 + 0.2 * torch::rand({2, 3, 10, 10});
  Tensor changed = image.clone();
  changed[0].slice(1, 4, 5).slice(2, 0, 9) += 0.3;  // a line of nine pixels in a hundred
  const Tensor line = saliency_map(image, changed);
  const auto without = [&](const Tensor& counterfactual) {
    return saliency_map(image, counterfactual, /*without_cast=*/true);
  };
  EXPECT_TRUE(torch::equal(without(changed), line)) << "there is none";
  const Tensor cast = torch::tensor({0.1, -0.15, 0.0}).view({3, 1, 1});
  const Tensor tinted = changed + cast;
  EXPECT_TRUE(torch::allclose(without(tinted), line, 0, 1e-6));
  EXPECT_GT(saliency_map(image, tinted).min().item<double>(), 0.08);
  // A pixel that falls by 1 where all others rise by 0.8 stays in the range of a map.
  Tensor dark = torch::full_like(image, 0.1), bright = torch::full_like(image, 0.9);
  dark.select(3, 0).select(2, 0).fill_(1);
  bright.select(3, 0).select(2, 0).fill_(0);
  EXPECT_EQ(saliency_map(dark, bright, /*without_cast=*/true).max().item<float>(), 1);
}

TEST(Smooth, GivesTheGaussianAroundAPoint) {
  Tensor map = torch::zeros({2, 1, 15, 15});
  map[1][0][7][7] = 1.0;
  const double sigma = 1.0;
  const Tensor smoothed = smooth(map, sigma);
  double norm = 0;
  for (int d = -4; d <= 4; ++d) norm += std::exp(-d * d / (2 * sigma * sigma));
  for (int dy = -2; dy <= 2; ++dy)
    for (int dx = -2; dx <= 2; ++dx)
      EXPECT_NEAR(smoothed[1][0][7 + dy][7 + dx].item<double>(),
                  std::exp(-(dx * dx + dy * dy) / (2 * sigma * sigma)) / (norm * norm), 1e-4);
  EXPECT_EQ(smoothed[0].abs().sum().item<double>(), 0);
  EXPECT_TRUE(torch::equal(smooth(map, 0), map));
}

TEST(Smooth, KeepsAConstantUpToTheBorderAndTheSmallestMap) {
  EXPECT_TRUE(
      torch::allclose(smooth(torch::full({1, 1, 6, 9}, 0.4), 1.5), torch::full({1, 1, 6, 9}, 0.4)));
  EXPECT_FLOAT_EQ(smooth(torch::full({1, 1, 1, 1}, 0.4), 2.0).item<float>(), 0.4f);
}

TEST(Smooth, IsOpenCVsGaussianBlur) {
  torch::manual_seed(2);
  for (const double sigma : {0.4, 0.6, 1.5, 3.0}) {
    const Tensor map = torch::rand({2, 1, 13, 20}), smoothed = smooth(map, sigma);
    for (int64_t n = 0; n < 2; ++n) {
      cv::Mat expected;
      cv::GaussianBlur(cv::Mat(13, 20, CV_32FC1, map[n].data_ptr()), expected, {}, sigma, sigma,
                       cv::BORDER_REFLECT_101);
      EXPECT_TRUE(
          torch::allclose(smoothed[n][0], torch::from_blob(expected.data, {13, 20}), 1e-5, 1e-6));
    }
  }
}

TEST(FindRegions, AreOpenCVsConnectedComponents) {
  torch::manual_seed(4);
  for (const double density : {0.2, 0.4, 0.6}) {
    const Tensor mask = (torch::rand({30, 41}) < density).to(torch::kUInt8);
    const Regions regions = find_regions(mask.data_ptr<uint8_t>(), 30, 41);
    cv::Mat labels, stats, centroids;
    const int count = cv::connectedComponentsWithStats(cv::Mat(30, 41, CV_8UC1, mask.data_ptr()),
                                                       labels, stats, centroids, 8, CV_32S);
    ASSERT_EQ(static_cast<int>(regions.boxes.size()), count - 1);
    // The numbers may differ: each of theirs must go with one of ours, bounds and area with it.
    std::vector<int32_t> partner(count, -1);
    for (int i = 0; i < 30 * 41; ++i) {
      int32_t& ours = partner[labels.at<int>(i / 41, i % 41)];
      if (ours < 0) ours = regions.labels[i];
      ASSERT_EQ(ours, regions.labels[i]);
    }
    for (int label = 1; label < count; ++label) {
      const Box& box = regions.boxes.at(partner[label] - 1);
      const int* row = stats.ptr<int>(label);
      EXPECT_EQ(box.x, row[cv::CC_STAT_LEFT]);
      EXPECT_EQ(box.y, row[cv::CC_STAT_TOP]);
      EXPECT_EQ(box.width, row[cv::CC_STAT_WIDTH]);
      EXPECT_EQ(box.height, row[cv::CC_STAT_HEIGHT]);
      EXPECT_EQ(box.area, row[cv::CC_STAT_AREA]);
    }
  }
}

TEST(SaliencyToMask, ThresholdIncludesItself) {
  const Tensor mask = saliency_to_mask(map_from({{0.25f, 0.24f, 0.26f}}), raw_options(0.25));
  EXPECT_TRUE(torch::equal(mask, map_from({{1, 0, 1}})));
}

TEST(SaliencyToMask, DropsSmallEightConnectedRegions) {
  // A diagonal of three pixels holds together; the pair at the right is too small.
  const Tensor map = map_from({{1, 0, 0, 0, 0, 1},  //
                               {0, 1, 0, 0, 0, 1},  //
                               {0, 0, 1, 0, 0, 0},  //
                               {0, 0, 0, 0, 0, 0}});
  MaskOptions options = raw_options(0.5);
  options.min_area = 3.0 / 24;
  const Tensor expected =
      map_from({{1, 0, 0, 0, 0, 0}, {0, 1, 0, 0, 0, 0}, {0, 0, 1, 0, 0, 0}, {0, 0, 0, 0, 0, 0}});
  EXPECT_TRUE(torch::equal(saliency_to_mask(map, options), expected));
  options.min_area = 3.5 / 24;
  EXPECT_EQ(saliency_to_mask(map, options).sum().item<double>(), 0);
}

/// Which of some values of a map of a hundred pixels, whose largest is `largest`, are marked.
std::vector<bool> marked_beside(float largest, const std::vector<float>& values) {
  Tensor map = torch::zeros({1, 1, 10, 10});
  map[0][0][9][9] = largest;
  const auto count = static_cast<int64_t>(values.size());
  map.flatten().slice(0, 0, count).copy_(torch::tensor(values));
  const Tensor mask = saliency_to_mask(map, {0.2, /*min_area=*/0, /*faint_share=*/0.5});
  std::vector<bool> marked;
  for (int64_t i = 0; i < count; ++i) marked.push_back(mask.flatten()[i].item<float>() == 1.0F);
  return marked;
}

TEST(SaliencyToMask, MarksFaintMapsFromAShareOfTheirLargestValueOn) {
  const std::vector<float> values{0.11F, 0.13F, 0.14F, 0.16F, 0.19F, 0.21F};
  using Marks = std::vector<bool>;
  EXPECT_EQ(marked_beside(0.90F, values), (Marks{false, false, false, false, false, true}));
  EXPECT_EQ(marked_beside(0.41F, values), (Marks{false, false, false, false, false, true}));
  EXPECT_EQ(marked_beside(0.30F, values), (Marks{false, false, false, true, true, true}));  // .15
  EXPECT_EQ(marked_beside(0.22F, values), (Marks{false, true, true, true, true, true}));    // .12
  EXPECT_EQ(kFaintest, 0.6);
}

TEST(SaliencyToMask, MarksNoMoreThanATenthOfAnImageForBeingFaint) {
  std::vector<float> values;  // .15, half of the largest, would mark twenty of them
  for (int k = 0; k < 30; ++k) values.push_back(0.131F + 0.002F * static_cast<float>(k));
  const std::vector<bool> marked = marked_beside(0.30F, values);
  EXPECT_EQ(std::count(marked.begin(), marked.end(), true), 9);  // and the largest
  for (int k = 21; k < 30; ++k) EXPECT_TRUE(marked[k]) << k;
  // What reaches the threshold itself is marked wherever it is.
  EXPECT_EQ(marked_beside(0.30F, std::vector<float>(40, 0.2F)), std::vector<bool>(40, true));
}

TEST(SaliencyToMask, KnowsEachMapsOwnLargestValue) {
  Tensor maps = torch::zeros({2, 1, 10, 10});
  maps[0][0][0][0] = 0.9F;
  maps[1][0][0][0] = 0.25F;
  maps.select(/*dim=*/3, 5).select(/*dim=*/2, 5).fill_(0.15F);
  const Tensor masks = saliency_to_mask(maps, {0.2, /*min_area=*/0, /*faint_share=*/0.5});
  EXPECT_EQ(masks[0].sum().item<float>(), 1.0F);
  EXPECT_EQ(masks[1].sum().item<float>(), 2.0F);
  EXPECT_EQ(masks[1][0][5][5].item<float>(), 1.0F);
}

TEST(MaskImage, IsTheSameRuleAtTheOriginalSize) {
  Tensor map = torch::zeros({1, 1, 8, 8});
  map.slice(2, 2, 6).slice(3, 2, 6).fill_(0.8);  // a square of 4x4 pixels
  map[0][0][0][7] = 0.8;                         // and a speck
  MaskOptions options{0.4, 2.0 / 64};
  EXPECT_TRUE(torch::equal(saliency_to_mask(map, options)[0][0].sum(), torch::tensor(16.0f)));
  const cv::Mat mask = mask_image(enlarged(to_float_map(map[0]), cv::Size(80, 40)), options);
  ASSERT_EQ(mask.size(), cv::Size(80, 40));
  EXPECT_NEAR(cv::countNonZero(mask), 16 * 50, 100);
  EXPECT_EQ(cv::countNonZero(mask(cv::Rect(70, 0, 10, 5))), 0);
  EXPECT_EQ(mask.at<uint8_t>(20, 40), 255);
}

/// A dark slanted line on a light wall, and what a network saw of it at a quarter of the size.
struct Line {
  cv::Mat original{96, 96, CV_8UC3, cv::Scalar(180, 170, 160)},
      truth{96, 96, CV_8UC1, cv::Scalar(0)};
  cv::Mat seen, map;
  Line() {
    const cv::Point from(20, 0), to(61, 95);
    cv::line(original, from, to, cv::Scalar(60, 60, 60), 5);
    cv::line(truth, from, to, cv::Scalar(255), 5);
    cv::resize(original, seen, cv::Size(24, 24), 0, 0, cv::INTER_AREA);
    cv::Mat marks;
    cv::resize(truth, marks, cv::Size(24, 24), 0, 0, cv::INTER_AREA);
    marks.convertTo(marks, CV_32F, 0.4 / 255);
    cv::GaussianBlur(marks, map, cv::Size(5, 5), 1.0);
  }
  double iou(const cv::Mat& enlarged) const {
    const cv::Mat mask = mask_image(enlarged, raw_options(0.12));
    return static_cast<double>(cv::countNonZero(mask & truth)) / cv::countNonZero(mask | truth);
  }
};

TEST(EnlargeByEdges, EndsWhereTheImageHasItsEdge) {
  const Line line;
  cv::Mat bilinear;
  cv::resize(line.map, bilinear, line.original.size(), 0, 0, cv::INTER_LINEAR);
  EXPECT_LT(line.iou(bilinear), 0.7);
  EXPECT_GT(line.iou(enlarge_by_edges(line.map, line.seen, line.original)), 0.85);
}

// By libtorch's interpolation in place of OpenCV's.
TEST(EnlargeByEdges, AppliesTheEnlargedFits) {
  const Line line;
  const auto grey = [](const cv::Mat& image) {
    return to_tensor(image).mean(/*dim=*/0).view({1, 1, image.rows, image.cols});
  };
  const Tensor map = from_float_map(line.map).unsqueeze(0);
  const GuidedFit fit = guided_fit(grey(line.seen), map, 1, kFlat);
  const auto enlarged = [](const Tensor& of_fit) {
    return at::upsample_bilinear2d(of_fit, {96, 96}, /*align_corners=*/false);
  };
  const Tensor expected =
      (enlarged(fit.a) * grey(line.original) + enlarged(fit.b)).clamp(0, 1).to(torch::kFloat32);
  const Tensor ours = from_float_map(enlarge_by_edges(line.map, line.seen, line.original));
  EXPECT_TRUE(torch::allclose(ours, expected[0], 0, 1e-4));
}

TEST(EnlargeByEdges, OnlyResizesWhereNothingFinerIsToBeSeen) {
  const Line line;
  const auto differs = [](const cv::Mat& a, const cv::Mat& b) {
    return cv::norm(a, b, cv::NORM_INF);
  };
  EXPECT_EQ(differs(enlarge_by_edges(line.map, line.seen, line.seen), line.map), 0);
  const cv::Mat small(12, 16, CV_8UC3, cv::Scalar(1, 2, 3));
  cv::Mat bilinear;
  cv::resize(line.map, bilinear, small.size(), 0, 0, cv::INTER_LINEAR);
  EXPECT_EQ(differs(enlarge_by_edges(line.map, line.seen, small), bilinear), 0);
  const cv::Mat flat(96, 96, CV_8UC3, cv::Scalar(9, 9, 9)), even(24, 24, CV_32FC1, cv::Scalar(0.3));
  EXPECT_LT(differs(enlarge_by_edges(even, cv::Mat(24, 24, CV_8UC3, cv::Scalar(9, 9, 9)), flat),
                    cv::Mat(96, 96, CV_32FC1, cv::Scalar(0.3))),
            1e-6);
}

cv::Mat wall(cv::Size size) { return {size, CV_8UC3, cv::Scalar(180, 170, 160)}; }

/// What the line leaves of itself in a mended wall: the mean distance to the wall in gray levels.
double remains_of(const Line& line, const cv::Mat& mended) {
  cv::Mat apart;
  cv::absdiff(mended, wall(mended.size()), apart);
  return cv::sum(cv::mean(apart, line.truth))[0] / 3;
}

TEST(EnlargeChange, MendsADefectWithItsRims) {
  const Line line;
  const cv::Mat change = wall(line.seen.size()) - line.seen;
  const double bilinear = remains_of(line, line.original + enlarged(change, line.original.size()));
  const double ours =
      remains_of(line, enlarge_change(line.original, line.seen, wall(line.seen.size())));
  EXPECT_GT(bilinear, 20);
  EXPECT_LT(ours, bilinear / 4);
}

// By libtorch's interpolation in place of OpenCV's.
TEST(EnlargeChange, TakesTheFittedShareOfTheDetail) {
  torch::manual_seed(9);
  const Line line;
  const cv::Mat changed = to_image(torch::rand({3, 24, 24}));
  const auto channels = [](const cv::Mat& image) { return to_tensor(image).unsqueeze(1); };
  const auto enlarged = [](const Tensor& map) {
    return at::upsample_bilinear2d(map.to(torch::kFloat32), {96, 96}, /*align_corners=*/false);
  };
  const Tensor original = channels(line.original), seen = channels(line.seen);
  const Tensor change = channels(changed) - seen;
  const Tensor share = guided_fit(seen, change, 1, kFlat).a.clamp(-1, 0);
  ASSERT_LT(share.min().item<double>(), -0.9);
  const Tensor expected =
      original + enlarged(change) + enlarged(share) * (original - enlarged(seen));
  const Tensor ours = channels(enlarge_change(line.original, line.seen, changed));
  EXPECT_TRUE(torch::allclose(ours, expected.clamp(0, 1), 0, 1.01 / 255));
}

TEST(EnlargeChange, LeavesAloneWhatDidNotChangeAndSizesThatAreNotLarger) {
  const Line line;
  const auto differs = [](const cv::Mat& a, const cv::Mat& b) {
    return cv::norm(a, b, cv::NORM_INF);
  };
  EXPECT_EQ(differs(enlarge_change(line.original, line.seen, line.seen), line.original), 0);
  const cv::Mat mended = wall(line.seen.size()), small(12, 16, CV_8UC3, cv::Scalar(90, 90, 90));
  EXPECT_EQ(differs(enlarge_change(line.seen, line.seen, mended), mended), 0);
  cv::Mat expected;
  cv::resize(mended - line.seen, expected, small.size(), 0, 0, cv::INTER_LINEAR);
  EXPECT_LE(differs(enlarge_change(small, line.seen, mended), small + expected), 1);
}

/// Otsu by definition: every edge, both groups from the values themselves.
double brute_otsu_variance(const std::vector<float>& values, double edge) {
  double n0 = 0, n1 = 0, s0 = 0, s1 = 0;
  for (float v : values) (v >= edge ? n1 : n0) += 1, (v >= edge ? s1 : s0) += v;
  if (n0 == 0 || n1 == 0) return 0;
  const double n = n0 + n1, difference = s0 / n0 - s1 / n1;
  return n0 / n * (n1 / n) * difference * difference;
}

TEST(OtsuThreshold, MaximisesTheBetweenClassVariance) {
  torch::manual_seed(3);
  for (int trial = 0; trial < 5; ++trial) {
    const Tensor values = torch::cat({torch::rand({300}) * 0.3, torch::rand({100}) * 0.5 + 0.2});
    const std::vector<float> list(values.data_ptr<float>(), values.data_ptr<float>() + 400);
    const double largest = values.max().item<double>();
    double best = 0;
    for (int edge = 1; edge < 1024; ++edge)
      best = std::max(best, brute_otsu_variance(list, largest * edge / 1024));
    const double found = brute_otsu_variance(list, otsu_threshold(values));
    EXPECT_NEAR(found, best, 2e-3 * best);  // the histogram rounds values to bin centres
  }
}

TEST(OtsuThreshold, HandExample) {
  // Counts 4, 0, 0, 4 of bins of width 0.1: every edge from 1 to 3 parts the groups; the middle.
  EXPECT_DOUBLE_EQ(otsu_threshold({4, 0, 0, 4}, 0.1), 0.2);
  // Counts 5, 3, 0, 2: variances n0 n1 (m0-m1)^2 at edge 1: 5*5*(0.5-2.3)^2 = 81, at edges 2 and
  // 3: 8*2*(0.875-3.5)^2 = 110.25.
  EXPECT_DOUBLE_EQ(otsu_threshold({5, 3, 0, 2}, 0.1), 0.25);
}

TEST(OtsuThreshold, DegenerateValues) {
  EXPECT_DOUBLE_EQ(otsu_threshold(torch::zeros({10})), 0);
  EXPECT_DOUBLE_EQ(otsu_threshold(torch::full({10}, 0.5)), 0.5);
  EXPECT_THROW(otsu_threshold(torch::empty({0})), Error);
  EXPECT_THROW(otsu_threshold({0, 0}, 0.1), Error);
}

TEST(MaskBoxes, LargestFirst) {
  Tensor mask = torch::zeros({1, 10, 12});
  mask[0][1][1] = 1;
  mask[0][2][2] = 1;  // touches by a corner
  mask.slice(1, 5, 8).slice(2, 4, 9).fill_(1);
  const auto boxes = mask_boxes(mask);
  ASSERT_EQ(boxes.size(), 2u);
  EXPECT_EQ(boxes[0].x, 4);
  EXPECT_EQ(boxes[0].y, 5);
  EXPECT_EQ(boxes[0].width, 5);
  EXPECT_EQ(boxes[0].height, 3);
  EXPECT_EQ(boxes[0].area, 15);
  EXPECT_EQ(boxes[1].area, 2);
  EXPECT_EQ(boxes[1].width, 2);
  EXPECT_TRUE(mask_boxes(torch::zeros({1, 4, 4})).empty());
}

}  // namespace
}  // namespace flipside::mask_test
