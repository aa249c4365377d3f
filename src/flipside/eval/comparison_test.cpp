#include "flipside/eval/comparison.h"

#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "flipside/core/random.h"
#include "flipside/data/image_io.h"
#include "flipside/data/loader.h"
#include "flipside/eval/model_folder.h"
#include "flipside/explain/views.h"
#include "support/small_model.h"
#include "support/temp_folder.h"

namespace flipside::comparison_test {
namespace {

constexpr int kSide = 16;

/// Light images with a dark bar in those of the class "crack", whose masks show the bar.
class ComparisonTest : public testing::Test {
 protected:
  void SetUp() override {
    Rng rng(4);
    for (const std::string split : {"train", "val", "test"})
      for (const std::string name : {"crack", "intact"})
        for (int i = 0; i < 4; ++i) {
          cv::Mat image(kSide, kSide, CV_8UC3);
          for (int p = 0; p < kSide * kSide * 3; ++p)
            image.data[p] = static_cast<uint8_t>(rng.between(190, 210));
          const fs::path file = name + "/" + std::to_string(i) + ".png";
          if (name == "crack") {
            const cv::Rect bar(2 + 3 * i, 1, 2, 12);
            image(bar).setTo(cv::Scalar(60, 60, 60));
            cv::Mat mask = cv::Mat::zeros(kSide, kSide, CV_8UC1);
            mask(bar).setTo(255);
            write_image(root_ / split / "masks" / file, mask);
          }
          write_image(root_ / split / file, image);
        }
  }
  ImageFolder scan(const Model& model) const { return scan_for_model(root_.path(), model); }
  static CompareOptions quick() {
    CompareOptions options;
    options.masks = 4;
    return options;
  }

  TempFolder root_;
};

TEST_F(ComparisonTest, FindsWhatDarknessShows) {
  const Model model = small_model({"crack", "intact"}, 1, ModelKind::kClassifier);
  CompareOptions options = quick();
  options.methods = {AttributionMethod::kDarkness};
  const Comparison comparison = compare_methods(model, scan(model), options);
  EXPECT_EQ(comparison.images, 4);
  EXPECT_EQ(comparison.validation_images, 4);
  ASSERT_EQ(comparison.methods.size(), 1u);
  const MethodResult& darkness = comparison.methods[0];
  EXPECT_EQ(darkness.setting.smoothing, 0);  // the bars are sharp
  EXPECT_GT(darkness.validation_iou, 0.95);
  EXPECT_GT(darkness.tuned.iou, 0.95);
  EXPECT_GT(darkness.label_free.iou, 0.95);
  EXPECT_GT(darkness.average_precision, 0.95);
}

TEST_F(ComparisonTest, ChoosesOnValidationMasksAlone) {
  const Model model = lively_model({"crack", "intact"}, 1);
  CompareOptions options = quick();
  options.methods = {AttributionMethod::kLayerCam, AttributionMethod::kCounterfactual};
  const Comparison before = compare_methods(model, scan(model), options);
  // Other masks of the test split change its scores, but neither settings nor thresholds.
  for (int i = 0; i < 4; ++i) {
    cv::Mat mask = cv::Mat::zeros(kSide, kSide, CV_8UC1);
    mask(cv::Rect(0, 13, 16, 3)).setTo(255);
    write_image(root_ / "test/masks/crack" / (std::to_string(i) + ".png"), mask);
  }
  const Comparison after = compare_methods(model, scan(model), options);
  for (size_t m = 0; m < 2; ++m) {
    const auto &a = before.methods[m], &b = after.methods[m];
    EXPECT_EQ(describe(a.method, a.setting), describe(b.method, b.setting));
    EXPECT_EQ(a.tuned.threshold, b.tuned.threshold);
    EXPECT_EQ(a.label_free.threshold, b.label_free.threshold);
    EXPECT_EQ(a.validation_iou, b.validation_iou);
    EXPECT_NE(a.tuned.iou, b.tuned.iou);
  }
  // Measured on the split that chose, a method reaches the IoU that it was chosen for.
  options.split = Split::kVal;
  for (const auto& result : compare_methods(model, scan(model), options).methods)
    EXPECT_NEAR(result.tuned.iou, result.validation_iou, 1e-3) << to_string(result.method);
}

TEST_F(ComparisonTest, PicturesThatAreKeptChangeNothing) {
  const Model model = lively_model({"crack", "intact"}, 1);
  CompareOptions options = quick();
  options.limit = 3;
  options.methods = {AttributionMethod::kDarkness, AttributionMethod::kCounterfactual};
  ImageFolder folder = scan(model);
  const Comparison read = compare_methods(model, folder, options);
  for (const Split split : {Split::kVal, Split::kTest})
    keep_pictures(folder, split, model.config.data);
  const Comparison kept = compare_methods(model, folder, options);
  EXPECT_EQ(kept.images, 3);
  EXPECT_EQ(to_json(kept), to_json(read));
}

TEST_F(ComparisonTest, NoSettingThatIsTriedBeatsTheChosenOne) {
  Model model = lively_model({"crack", "intact"}, 1);
  model.config.explain.average_views = true;
  CompareOptions options = quick();
  options.split = Split::kVal;
  options.methods = {AttributionMethod::kInputXGradient};
  const ImageFolder folder = scan(model);
  const double reached = compare_methods(model, folder, options).methods[0].tuned.iou;
  std::vector<Tensor> images, masks;
  for (const auto& record : folder.split(Split::kVal)) {
    if (record.mask.empty()) continue;
    images.push_back(to_tensor(read_image(record.image)));
    masks.push_back(mask_to_tensor(read_mask(record.mask)));
  }
  const Tensor truth = torch::stack(masks);
  const Tensor seen = torch::stack(images);
  for (const bool average_views : {false, true}) {
    MapSetting setting;
    setting.average_views = average_views;
    const auto maps = class_maps(AttributionMethod::kInputXGradient, model, seen,
                                 torch::zeros({4}, torch::kInt64), setting);
    for (const Sign sign : {Sign::kPositive, Sign::kNegative, Sign::kAbsolute})
      for (const double smoothing : {0.0, 0.5, 1.5, 3.0})
        for (const int64_t radius : {0, 1, 4}) {
          const Tensor map = finished_map(AttributionMethod::kInputXGradient, maps, seen,
                                          {{}, sign, smoothing, radius, 0});
          for (int edge = 1; edge < 100; ++edge) {
            MaskMeter meter;
            meter.add((map >= edge / 100.0).to(torch::kFloat32), truth);
            EXPECT_GE(reached, meter.iou() - 0.01);
          }
        }
  }
}

TEST_F(ComparisonTest, MapsOverViewsAreTheMeanOfMapsTurnedBack) {
  Model model = lively_model({"crack", "intact"}, 1);
  model.config.explain.average_views = true;
  const Tensor images = torch::rand({2, 3, 32, 32}), labels = torch::tensor({0, 1}, torch::kInt64);
  const auto views = views_of(model.config, /*square=*/true);
  ASSERT_EQ(views.size(), 8);
  MapSetting setting;
  setting.average_views = true;
  for (const auto method :
       {AttributionMethod::kInputXGradient, AttributionMethod::kIntegratedGradients}) {
    const AttributionMaps maps = class_maps(method, model, images, labels, setting);
    for (const Sign sign : {Sign::kPositive, Sign::kNegative, Sign::kAbsolute}) {
      Tensor sum = torch::zeros({2, 1, 32, 32});
      for (const View& view : views)
        for (int64_t i = 0; i < 2; ++i) {
          const Tensor seen = view.of(images.slice(0, i, i + 1)).contiguous(kChannelsLast);
          const auto one =
              attribute(method, model.discriminator, seen, labels.slice(0, i, i + 1), {});
          sum.slice(0, i, i + 1) += view.undone(one.of(sign));
        }
      EXPECT_TRUE(torch::allclose(maps.of(sign), sum / 8, 1e-3, 1e-6)) << to_string(method);
    }
  }
}

TEST_F(ComparisonTest, EveryMethodRunsAndIsWritten) {
  Model model = lively_model({"crack", "intact"}, 1);
  model.config.explain.average_views = true;
  CompareOptions options = quick();
  options.limit = 2;
  options.randomisation = true;
  const Comparison comparison = compare_methods(model, scan(model), options);
  EXPECT_EQ(comparison.images, 2);
  EXPECT_EQ(comparison.validation_images, 2);
  ASSERT_EQ(comparison.methods.size(), all_methods().size());
  const std::string text = to_text(comparison), json = to_json(comparison);
  for (const auto& result : comparison.methods) {
    EXPECT_NE(text.find(to_string(result.method)), std::string::npos);
    EXPECT_EQ(result.randomisation.empty(), result.method == AttributionMethod::kDarkness);
    const StoredSetting stored = stored_setting(json, result.method);
    EXPECT_EQ(describe(result.method, stored.setting), describe(result.method, result.setting));
    EXPECT_DOUBLE_EQ(stored.label_free, result.label_free.threshold);
    if (!std::isnan(result.tuned.threshold)) {
      EXPECT_DOUBLE_EQ(stored.tuned, result.tuned.threshold);
    }
  }
  EXPECT_EQ(nlohmann::json::parse(json)["methods"].size(), all_methods().size());
}

TEST_F(ComparisonTest, RefusesWhatDoesNotFit) {
  const Model classifier = small_model({"crack", "intact"}, 1, ModelKind::kClassifier);
  CompareOptions options = quick();
  const ImageFolder folder = scan(classifier);
  options.methods = {AttributionMethod::kCounterfactual};
  EXPECT_NE(message_of(ErrorCode::kArgument, [&] { compare_methods(classifier, folder, options); }),
            "");
  options.methods = {};
  const Model segmenter = small_model({"crack", "intact"}, 1, ModelKind::kSegmenter);
  EXPECT_NE(message_of(ErrorCode::kArgument, [&] { compare_methods(segmenter, folder, options); }),
            "");
  fs::remove_all(root_ / "val/masks");
  EXPECT_NE(
      message_of(ErrorCode::kData, [&] { compare_methods(classifier, scan(classifier), options); }),
      "");
  EXPECT_NE(message_of(ErrorCode::kUsage, [] { stored_setting("{}", AttributionMethod::kRise); }),
            "");
}

}  // namespace
}  // namespace flipside::comparison_test
