#include "flipside/report/explained_masks.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <opencv2/imgcodecs.hpp>
#include <opencv2/imgproc.hpp>

#include "flipside/core/error.h"
#include "flipside/core/file.h"
#include "flipside/data/image_io.h"
#include "flipside/explain/answer.h"
#include "flipside/explain/measure.h"
#include "flipside/report/explain_files.h"
#include "flipside/report/explained_image.h"
#include "support/result_files.h"
#include "support/small_model.h"
#include "support/temp_folder.h"

namespace flipside::explained_masks_test {
namespace {

/// Photographs of 40 x 40 pixels and one of 100 x 60, most with masks, for a model of 16 x 16.
class ExplainedMasksTest : public testing::Test {
 protected:
  ExplainedMasksTest() {
    model_.thresholds.label_free = 0.1;
    model_.native_sides = {/*median=*/40, /*largest=*/40};
    const cv::Size sizes[] = {{40, 40}, {40, 40}, {100, 60}, {40, 40}};
    for (int i = 0; i < 4; ++i) {
      const std::string file = std::to_string(i) + ".png";
      write_image(data_ / "test/crack" / file, noise_image(sizes[i], i));
      write_image(data_ / "test/intact" / file, noise_image(sizes[i], 10 + i));
      if (i == 3) continue;
      cv::Mat mask = cv::Mat::zeros(sizes[i], CV_8UC1);
      cv::line(mask, {3, 5 + i}, {33, 20}, cv::Scalar(255), 5);
      write_image(data_ / "test/masks/crack" / file, mask);
    }
    for (const char* split : {"train", "val"})
      for (const char* name : {"crack", "intact"})
        data_.write_image(fs::path(split) / name / "a.png", {1, 2, 3});
  }
  ImageFolder scan() const { return scan_image_folder(data_.path(), model_.config.data); }

  TempFolder data_;
  Model model_ = lively_model({"crack", "intact"}, 1);
};

/// Marked pixels by the length of all centre lines.
double width_of(const cv::Mat& mask) {
  double length = 0;
  for (const auto& region : measure_regions(mask)) length += region.length;
  return cv::countNonZero(mask) / length;
}

TEST_F(ExplainedMasksTest, AreThoseThatExplainWrites) {
  const Explainer explainer(model_);
  const fs::path out = data_ / "out";
  explain_files(explainer, list_images({data_ / "test/crack"}, out), out, {});
  double both = 0, either = 0, ious = 0, marked = 0;
  std::vector<double> widths;
  for (const char* name : {"0", "1", "2"}) {
    const cv::Mat mask = cv::imread((out / name).string() + ".mask.png", cv::IMREAD_GRAYSCALE);
    const cv::Mat truth =
        cv::imread((data_ / "test/masks/crack" / name).string() + ".png", cv::IMREAD_GRAYSCALE);
    ASSERT_EQ(mask.size(), truth.size());
    double shared = 0, all = 0;
    for (int y = 0; y < mask.rows; ++y)
      for (int x = 0; x < mask.cols; ++x) {
        const bool m = mask.at<uint8_t>(y, x) > 0, t = truth.at<uint8_t>(y, x) > 0;
        shared += m && t;
        all += m || t;
        marked += m;
      }
    both += shared;
    either += all;
    ious += shared / all / 3;
    widths.push_back(width_of(mask) / width_of(truth));
  }
  std::sort(widths.begin(), widths.end());
  ASSERT_GT(marked, 0);
  const ExplainedMaskScores scores = score_explained_masks(explainer, scan(), Split::kTest);
  EXPECT_EQ(scores.images, 3);
  EXPECT_DOUBLE_EQ(scores.iou, both / either);
  EXPECT_DOUBLE_EQ(scores.mean_iou, ious);
  EXPECT_DOUBLE_EQ(scores.precision, both / marked);
  EXPECT_DOUBLE_EQ(scores.width, widths[1]);
  EXPECT_DOUBLE_EQ(scores.width_high, widths[2]);
  const auto json = nlohmann::json::parse(to_json(scores));
  EXPECT_EQ(json["width_quartiles"], (nlohmann::json{scores.width_low, scores.width_high}));
}

TEST_F(ExplainedMasksTest, WhatCannotBeReadIsLeftOut) {
  const Explainer explainer(model_);
  write_image(data_ / "test/masks/crack/0.png", cv::Mat::zeros(8, 8, CV_8UC1));  // another size
  atomic_write(data_ / "test/crack/1.png", "no image");
  EXPECT_EQ(score_explained_masks(explainer, scan(), Split::kTest).images, 1);
  fs::remove(data_ / "test/masks/crack/2.png");
  EXPECT_THAT(
      message_of(ErrorCode::kData, [&] { score_explained_masks(explainer, scan(), Split::kTest); }),
      testing::HasSubstr("can be read together with its mask"));
}

TEST_F(ExplainedMasksTest, CounterfactualsAreSeenAnewAsTheyAreWritten) {
  const Explainer explainer(model_);
  const fs::path out = data_ / "out";
  explain_files(explainer, list_images({data_ / "test/crack"}, out), out, {});
  double made = 0, written = 0;
  for (const auto& line : read_json_lines(out / "results.jsonl")) {
    const std::string name = fs::path(line["image"].get<std::string>()).stem();
    if (name != "0" && name != "1") continue;  // in windows, and without a mask
    const cv::Mat picture = read_image(out / (name + ".counterfactual.png"));
    const Explanation anew = explainer.explain(network_input(explainer, picture).unsqueeze(0));
    const std::string target = line["target"].get<std::string>();
    made += line["counterfactual_predicted"] == target;
    written += model_.class_names[anew.predicted.item<int64_t>()] == target;
  }
  const ExplainedMaskScores scores = score_explained_masks(explainer, scan(), Split::kTest);
  EXPECT_EQ(scores.turned, made / 2);
  EXPECT_EQ(scores.turned_as_written, written / 2);
  const auto json = nlohmann::json::parse(to_json(scores));
  EXPECT_EQ(json["turned_as_written"], written / 2);
  EXPECT_NE(to_text(scores).find("as written"), std::string::npos);
}

/// The pixels of `replacement` where the mask is marked, one by one.
cv::Mat pasted(const cv::Mat& image, const cv::Mat& replacement, const cv::Mat& mask) {
  cv::Mat picture = image.clone();
  for (int y = 0; y < image.rows; ++y)
    for (int x = 0; x < image.cols; ++x)
      if (mask.at<uint8_t>(y, x) > 0) picture.at<cv::Vec3b>(y, x) = replacement.at<cv::Vec3b>(y, x);
  return picture;
}

TEST_F(ExplainedMasksTest, TheJudgeIsShownWhatTheMaskAloneReplaces) {
  const Explainer explainer(model_);
  const fs::path out = data_ / "out";
  explain_files(explainer, list_images({data_ / "test/crack"}, out), out, {});
  const torch::NoGradGuard no_grad;
  const Model judge =
      small_model(model_.class_names, model_.reference_class, ModelKind::kClassifier);
  const auto weights = judge.discriminator->named_parameters();
  weights["head.weight"].neg_();  // so that this judge likes what the masks do to the first image
  // By how much the judge takes a picture for good: log p(intact) - log p(crack).
  const auto margin = [&](const cv::Mat& picture) {
    const Tensor input = network_input(explainer, picture).unsqueeze(0);
    const Tensor probs = real_class_probs(judge, input)[0];
    return std::log(probs[1].item<double>() / probs[0].item<double>());
  };
  struct Margins {
    double image, by_mask, by_truth;
  };
  std::vector<Margins> cases;
  for (const std::string name : {"0", "1"}) {  // 2 is seen in windows, 3 has no mask
    const cv::Mat image = read_image(data_ / "test/crack" / (name + ".png"));
    const cv::Mat counterfactual = read_image(out / (name + ".counterfactual.png"));
    const cv::Mat mask = cv::imread(out / (name + ".mask.png"), cv::IMREAD_GRAYSCALE);
    const cv::Mat truth =
        cv::imread(data_ / "test/masks/crack" / (name + ".png"), cv::IMREAD_GRAYSCALE);
    cases.push_back({margin(image), margin(pasted(image, counterfactual, mask)),
                     margin(pasted(image, counterfactual, truth))});
  }
  // The first image becomes just a defect, and just none without what its mask marks.
  const double between = (cases[0].image + cases[0].by_mask) / 2;
  weights["head.bias"][1] -= between;
  double defects = 0, deleted = 0, deleted_by_truth = 0;
  for (const auto& c : cases) {
    if (c.image > between) continue;
    ++defects;
    deleted += c.by_mask > between;
    deleted_by_truth += c.by_truth > between;
  }
  ASSERT_GT(deleted, 0);
  ASSERT_NE(deleted, deleted_by_truth);
  const ExplainedMaskScores scores = score_explained_masks(explainer, scan(), Split::kTest, &judge);
  EXPECT_EQ(scores.deletion, deleted / defects);
  EXPECT_EQ(scores.deletion_by_true_masks, deleted_by_truth / defects);
  const auto json = nlohmann::json::parse(to_json(scores));
  EXPECT_EQ(json["deletion"], deleted / defects);
  EXPECT_NE(to_text(scores).find("the mask alone"), std::string::npos);
}

TEST_F(ExplainedMasksTest, TheTrueMaskOfAMissedDefectIsMendedAllTheSame) {
  Model model = model_;
  model.discriminator->named_parameters()["head.bias"].data()[1] += 100;  // everything is intact
  const Explainer explainer(model);
  const torch::NoGradGuard no_grad;
  const Model judge = small_model(model.class_names, model.reference_class, ModelKind::kClassifier);
  const auto margin = [&](const cv::Mat& picture) {
    const Tensor input = network_input(explainer, picture).unsqueeze(0);
    const Tensor probs = real_class_probs(judge, input)[0];
    return std::log(probs[1].item<double>() / probs[0].item<double>());
  };
  const cv::Mat image = read_image(data_ / "test/crack/0.png");
  const cv::Mat truth =
      cv::imread((data_ / "test/masks/crack/0.png").string(), cv::IMREAD_GRAYSCALE);
  const auto mended_towards = [&](int64_t target) {
    const Explanation asked =
        explainer.explain(network_input(explainer, image).unsqueeze(0),
                          torch::full({1}, target, torch::kInt64), Effort::kNoDoubt);
    return margin(
        pasted(image, draw_explanation(explainer, asked, 0, image).counterfactual, truth));
  };
  // A judge for whom the true mask filled with "intact" just turns this image, and filled with
  // "crack" does not.
  const auto weights = judge.discriminator->named_parameters();
  double good = 0, others = 0;
  for (int seed = 0; seed < 50 && !(good > others); ++seed) {
    torch::manual_seed(seed);
    weights["head.weight"].copy_(torch::randn_like(weights["head.weight"]));
    good = mended_towards(1);
    others = std::max(mended_towards(0), margin(image));
  }
  ASSERT_GT(good, others);
  weights["head.bias"][1] -= (good + others) / 2;
  for (const char* other : {"1", "2", "3"})
    fs::remove(data_ / "test/crack" / (std::string(other) + ".png"));
  for (const char* other : {"1", "2"})
    fs::remove(data_ / "test/masks/crack" / (std::string(other) + ".png"));
  const ExplainedMaskScores scores = score_explained_masks(explainer, scan(), Split::kTest, &judge);
  EXPECT_EQ(scores.images, 1);
  EXPECT_EQ(scores.deletion, 0);
  EXPECT_EQ(scores.deletion_by_true_masks, 1);
}

TEST_F(ExplainedMasksTest, NeedMasksAndPhotographsAndAJudgeWithClasses) {
  const Explainer explainer(model_);
  const Model segmenter =
      small_model(model_.class_names, model_.reference_class, ModelKind::kSegmenter);
  EXPECT_NE(message_of(ErrorCode::kArgument,
                       [&] { score_explained_masks(explainer, scan(), Split::kTest, &segmenter); }),
            "");
  EXPECT_NE(
      message_of(ErrorCode::kData, [&] { score_explained_masks(explainer, scan(), Split::kVal); }),
      "");
}

}  // namespace
}  // namespace flipside::explained_masks_test
