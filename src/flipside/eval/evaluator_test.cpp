#include "flipside/eval/evaluator.h"

#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "flipside/core/random.h"
#include "flipside/eval/flaws.h"
#include "flipside/eval/meters.h"
#include "flipside/eval/model_folder.h"
#include "flipside/explain/uncertainty.h"
#include "support/small_model.h"
#include "support/temp_folder.h"

namespace flipside::evaluator_test {
namespace {

constexpr int kSide = 16;

cv::Mat noise(Rng& rng) {
  cv::Mat image(kSide, kSide, CV_8UC3);
  for (int i = 0; i < kSide * kSide * 3; ++i) image.data[i] = static_cast<uint8_t>(rng.below(256));
  return image;
}

/// Noise in the given classes; the class "crack" has masks (its first test image has none) and
/// exact counterfactuals.
class EvaluatorTest : public testing::Test {
 protected:
  void make_data(const std::vector<std::string>& class_names, int per_class = 5) {
    Rng rng(9);
    for (const std::string split : {"train", "val", "test"})
      for (const auto& name : class_names)
        for (int i = 0; i < per_class; ++i) {
          const fs::path file = name + "/" + std::to_string(i) + ".png";
          write_image(root_ / split / file, noise(rng));
          if (name != "crack" || (split == "test" && i == 0)) continue;
          cv::Mat mask = cv::Mat::zeros(kSide, kSide, CV_8UC1);
          mask(cv::Rect(i, 2, 5, 6)).setTo(255);
          write_image(root_ / split / "masks" / file, mask);
          write_image(root_ / split / "counterfactuals" / file, noise(rng));
        }
  }
  ImageFolder scan(const Model& model) const { return scan_for_model(root_.path(), model); }
  static Tensor read(const fs::path& path) { return to_tensor(read_image(path)).unsqueeze(0); }
  static Tensor class_number(int64_t label) { return torch::full({1}, label, torch::kInt64); }

  TempFolder root_;
};

/// The changes of crack > intact and of intact asked to stay, against a loop over the images.
void expect_changes(const Results& results, const Explainer& explainer, const Model& judge,
                    const ImageFolder& folder) {
  Discriminator judge_network = judge.discriminator;
  double l1[2] = {}, images[2] = {};
  FeatureStatistics real[2], made;
  for (const auto& record : folder.split(Split::kTest)) {
    const Tensor image = to_tensor(read_image(record.image)).unsqueeze(0);
    const Explanation e = explainer.explain(image, torch::ones({1}, torch::kInt64));
    l1[record.label] += (e.counterfactual - image).abs().mean().item<double>();
    if (record.label == 1)
      real[static_cast<int>(images[1]) % 2].add(judge_network->features(image));
    else if (static_cast<int>(images[0]) % 2 == 0)
      made.add(judge_network->features(e.counterfactual));
    ++images[record.label];
  }
  ASSERT_EQ(results.changes.size(), 3u);  // crack > intact, intact > crack, intact > intact
  const ChangeScores& flipped = results.changes[0];
  const ChangeScores& kept = results.changes[2];
  EXPECT_EQ(flipped.from, 0);
  EXPECT_EQ(kept.from, 1);
  EXPECT_EQ(kept.to, 1);
  EXPECT_EQ(kept.images, 5);
  EXPECT_NEAR(flipped.l1, l1[0] / 5, 1e-5);
  EXPECT_NEAR(kept.l1, l1[1] / 5, 1e-5);
  const double distance = frechet_distance(made, real[0]),
               halves = frechet_distance(real[1], real[0]);
  EXPECT_NEAR(*flipped.frechet, distance, 1e-3 * distance);
  EXPECT_NEAR(*flipped.frechet_real, halves, 1e-3 * halves);
}

/// A classifier that takes about half of the test images for cracks, so that there is something to
/// be judged.
Model undecided_judge(const ImageFolder& folder) {
  torch::NoGradGuard no_grad;
  Model judge = small_model({"crack", "intact"}, 1, ModelKind::kClassifier);
  std::vector<Tensor> gaps;
  for (const auto& record : folder.split(Split::kTest)) {
    const Tensor logits =
        judge.discriminator->forward(to_tensor(read_image(record.image)).unsqueeze(0));
    gaps.push_back(logits[0][0] - logits[0][1]);
  }
  const Tensor bias = judge.discriminator->parameters().back();
  EXPECT_EQ(bias.numel(), 2);
  const Tensor sorted = std::get<0>(torch::stack(gaps).sort());
  const auto half = static_cast<int64_t>(gaps.size()) / 2;
  bias[0] -= 0.5 * (sorted[half - 1] + sorted[half]);  // between two images, so that none is a tie
  return judge;
}

TEST_F(EvaluatorTest, AgreesWithASlowLoopOverImages) {
  make_data({"crack", "intact"});
  Model model = lively_model({"crack", "intact"}, 1);
  model.thresholds = {0.15, 0.3};
  const Explainer explainer(model);
  const ImageFolder folder = scan(model);
  Model judge = undecided_judge(folder);
  EvaluateOptions options;
  options.judge = &judge;
  options.batch = 3;
  const Results results = evaluate(explainer, folder, options);

  torch::NoGradGuard no_grad;
  double correct = 0, head = 0, judged_right = 0, inside = 0, outside = 0, mask_pixels = 0;
  double flips[2] = {}, strict[2] = {}, judged[2] = {};
  MaskMeter label_free, tuned;
  RankMeter ranks;
  int64_t with_truth = 0, swapped = 0, deleted = 0;
  int64_t judged_defects = 0, deleted_by_mask = 0, deleted_by_truth = 0;
  for (const auto& record : folder.split(Split::kTest)) {
    const Tensor image = read(record.image);
    const int64_t target = 1 - record.label;
    const Explanation e = explainer.explain(image, class_number(target));
    correct += e.predicted.item<int64_t>() == record.label;
    head += e.head_probs.argmax().item<int64_t>() == record.label;
    judged_right += judge.discriminator->forward(image).argmax().item<int64_t>() == record.label;
    ranks.add(1 - e.probs.select(1, 1), class_number(record.label == 0));
    const Tensor logits = model.discriminator->forward(e.counterfactual);
    flips[record.label] += logits.slice(1, 0, 2).argmax().item<int64_t>() == target;
    strict[record.label] += logits.argmax().item<int64_t>() == target;
    judged[record.label] +=
        judge.discriminator->forward(e.counterfactual).argmax().item<int64_t>() == target;
    if (record.label != model.reference_class && e.predicted.item<int64_t>() != target) {
      const Tensor found = saliency_to_mask(e.saliency, explainer.mask_options());
      const Tensor mixed = found * e.counterfactual + (1 - found) * image;
      ++swapped;
      deleted +=
          model.discriminator->forward(mixed).slice(1, 0, 2).argmax().item<int64_t>() == target;
    }
    if (record.mask.empty()) continue;
    const Tensor mask = mask_to_tensor(read_mask(record.mask)).unsqueeze(0);
    MaskOptions rule = explainer.mask_options();
    label_free.add(saliency_to_mask(e.saliency, rule), mask);
    rule.threshold = 0.3;
    tuned.add(saliency_to_mask(e.saliency, rule), mask);
    const Tensor error = (e.counterfactual - read(record.counterfactual)).abs().mean(1, true);
    inside += (error * mask).sum().item<double>();
    outside += (error * (1 - mask)).sum().item<double>();
    mask_pixels += mask.sum().item<double>();
    ++with_truth;
    const auto seen_as_target = [&](const Tensor& replacement) {
      const Tensor mixed = mask * replacement + (1 - mask) * image;
      return judge.discriminator->forward(mixed).argmax().item<int64_t>() == target;
    };
    if (seen_as_target(image)) continue;
    ++judged_defects;
    deleted_by_mask += seen_as_target(e.counterfactual);
    deleted_by_truth += seen_as_target(read(record.counterfactual));
  }
  EXPECT_EQ(results.images, 10);
  EXPECT_DOUBLE_EQ(results.accuracy, correct / 10);
  EXPECT_DOUBLE_EQ(results.head_accuracy, head / 10);
  EXPECT_DOUBLE_EQ(*results.judge_accuracy, judged_right / 10);
  EXPECT_NEAR(results.auroc, ranks.auroc(), 1e-9);
  ASSERT_EQ(results.flips.size(), 2u);
  for (int64_t from = 0; from < 2; ++from) {
    EXPECT_EQ(results.flips[from].from, from);
    EXPECT_EQ(results.flips[from].to, 1 - from);
    EXPECT_EQ(results.flips[from].images, 5);
    EXPECT_DOUBLE_EQ(results.flips[from].by_discriminator, flips[from] / 5);
    EXPECT_DOUBLE_EQ(results.flips[from].by_discriminator_strict, strict[from] / 5);
    EXPECT_DOUBLE_EQ(*results.flips[from].by_judge, judged[from] / 5);
  }
  expect_changes(results, explainer, judge, folder);
  EXPECT_EQ(with_truth, 4);
  EXPECT_EQ(results.mask_images, 4);
  EXPECT_DOUBLE_EQ(results.label_free->threshold, 0.15);
  EXPECT_NEAR(results.label_free->iou, label_free.iou(), 0.01);
  EXPECT_NEAR(results.label_free->tolerant_f1, label_free.tolerant_f1(), 0.01);
  EXPECT_NEAR(results.tuned->iou, tuned.iou(), 0.01);
  EXPECT_NEAR(results.tuned->recall, tuned.recall(), 0.01);
  const double all_pixels = 4.0 * kSide * kSide;
  EXPECT_NEAR(*results.error_inside, inside / mask_pixels, 1e-4);
  EXPECT_NEAR(*results.error_outside, outside / (all_pixels - mask_pixels), 1e-4);
  EXPECT_TRUE(results.darkness_iou.has_value());
  EXPECT_EQ(results.faithfulness->cout_images, 5);
  EXPECT_EQ(results.faithfulness->images, swapped);
  if (swapped > 0) {
    EXPECT_DOUBLE_EQ(results.faithfulness->deletion, static_cast<double>(deleted) / swapped);
  }
  EXPECT_TRUE(results.judge_faithfulness.has_value());
  ASSERT_GT(judged_defects, 0);
  const auto expect_share = [&](const std::optional<FaithfulnessScores>& scores, int64_t turned) {
    ASSERT_TRUE(scores);
    EXPECT_EQ(scores->images, judged_defects);
    EXPECT_DOUBLE_EQ(scores->deletion, double(turned) / double(judged_defects));
    EXPECT_TRUE(std::isnan(scores->cout));
  };
  expect_share(results.true_mask_faithfulness, deleted_by_mask);
  expect_share(results.exact_faithfulness, deleted_by_truth);
}

TEST_F(EvaluatorTest, TellsCertainAnswersFromDoubtfulOnes) {
  make_data({"crack", "intact"});
  Model model = lively_model({"crack", "intact"}, 1);
  const ImageFolder folder = scan(model);
  EXPECT_FALSE(evaluate(model, folder, {}).certain);
  const auto entropy = [&](const ImageRecord& record) {
    return answer_scores(model, read(record.image)).at("entropy").item<double>();
  };
  std::vector<double> doubts;
  for (const auto& record : folder.split(Split::kTest)) doubts.push_back(entropy(record));
  std::sort(doubts.begin(), doubts.end());
  model.doubt_rule = DoubtRule{"entropy", (doubts[6] + doubts[7]) / 2, 0.7};

  double right[2] = {};
  for (const auto& record : folder.split(Split::kTest)) {
    const bool certain = entropy(record) <= model.doubt_rule->threshold;
    right[certain] +=
        Explainer(model).explain(read(record.image)).predicted.item<int64_t>() == record.label;
  }
  const auto results = evaluate(model, folder, {});
  ASSERT_TRUE(results.certain);
  EXPECT_DOUBLE_EQ(results.certain->coverage, 0.7);
  EXPECT_DOUBLE_EQ(results.certain->accuracy, right[1] / 7);
  EXPECT_DOUBLE_EQ(results.certain->doubtful_accuracy, right[0] / 3);
  const auto json = nlohmann::json::parse(to_json(results));
  EXPECT_EQ(json["certain"]["score"], "entropy");
  EXPECT_NE(to_text(results).find("certain answers: entropy"), std::string::npos);
}

TEST_F(EvaluatorTest, MeasuresLessWhereLessIsAskedFor) {
  make_data({"crack", "intact"});
  Model model = lively_model({"crack", "intact"}, 1);
  model.doubt_rule = DoubtRule{"views", 0.3, 0.7};
  EvaluateOptions options;
  options.everything = false;
  const Results whole = evaluate(model, scan(model), {}),
                part = evaluate(model, scan(model), options);
  EXPECT_EQ(part.confusion, whole.confusion);
  ASSERT_EQ(part.flips.size(), whole.flips.size());
  for (size_t i = 0; i < part.flips.size(); ++i)
    EXPECT_EQ(part.flips[i].by_discriminator, whole.flips[i].by_discriminator);
  EXPECT_DOUBLE_EQ(part.label_free->iou, whole.label_free->iou);
  ASSERT_EQ(part.changes.size(), whole.changes.size());
  for (size_t i = 0; i < part.changes.size(); ++i)
    EXPECT_EQ(part.changes[i].marked, whole.changes[i].marked);
  EXPECT_EQ(part.false_marks, whole.false_marks);
  EXPECT_TRUE(whole.certain && whole.faithfulness && whole.darkness_iou);
  EXPECT_FALSE(part.certain || part.faithfulness || part.darkness_iou);
}

TEST_F(EvaluatorTest, MeasuresEveryPairWithTheReferenceClass) {
  make_data({"crack", "intact", "stain"}, 3);
  const Model model = lively_model({"crack", "intact", "stain"}, 1);
  const Results results = evaluate(model, scan(model), {});
  std::vector<std::pair<int64_t, int64_t>> pairs;
  for (const auto& flip : results.flips) {
    pairs.emplace_back(flip.from, flip.to);
    EXPECT_EQ(flip.images, 3);
    EXPECT_LE(flip.by_discriminator_strict, flip.by_discriminator);
    EXPECT_FALSE(flip.by_judge.has_value());
  }
  EXPECT_EQ(pairs, (std::vector<std::pair<int64_t, int64_t>>{{0, 1}, {1, 0}, {1, 2}, {2, 1}}));
  EXPECT_EQ(results.images, 9);
  int64_t counted = 0;
  for (const auto& row : results.confusion)
    for (int64_t count : row) counted += count;
  EXPECT_EQ(counted, 9);
}

TEST_F(EvaluatorTest, MeasuresTheYardsticks) {
  torch::NoGradGuard no_grad;
  make_data({"crack", "intact"});
  Model classifier = small_model({"crack", "intact"}, 1, ModelKind::kClassifier);
  const ImageFolder folder = scan(classifier);
  const Results classes = evaluate(classifier, folder, {});
  double correct = 0;
  for (const auto& record : folder.split(Split::kTest))
    correct += classifier.discriminator->forward(read(record.image)).argmax().item<int64_t>() ==
               record.label;
  EXPECT_DOUBLE_EQ(classes.accuracy, correct / 10);
  EXPECT_FALSE(classes.label_free.has_value());
  EXPECT_TRUE(classes.flips.empty());
  EXPECT_TRUE(std::isnan(classes.head_accuracy));

  Model segmenter = small_model({"crack", "intact"}, 1, ModelKind::kSegmenter);
  const Results masks = evaluate(segmenter, folder, {});
  MaskMeter meter;
  for (const auto& record : folder.split(Split::kTest)) {
    if (record.mask.empty()) continue;
    meter.add(segmenter.segmenter->forward(read(record.image)) >= 0,
              mask_to_tensor(read_mask(record.mask)).unsqueeze(0));
  }
  ASSERT_TRUE(masks.fixed.has_value());
  EXPECT_NEAR(masks.fixed->recall, meter.recall(), 0.01);
  EXPECT_NEAR(masks.fixed->iou, meter.iou(), 0.01);
  EXPECT_TRUE(masks.tuned.has_value());
  EXPECT_TRUE(masks.confusion.empty());
  EXPECT_EQ(to_text(masks).find("accuracy"), std::string::npos);
}

TEST_F(EvaluatorTest, RefusesWhatDoesNotFit) {
  make_data({"crack", "intact"}, 2);
  const Model model = small_model({"crack", "intact"}, 1);
  const ImageFolder folder = scan(model);
  EXPECT_NE(message_of(ErrorCode::kData,
                       [&] {
                         evaluate(small_model({"bad", "intact"}, 1), folder, {});
                       }),
            "");
  const auto judged_by = [&](const Model& judge) {
    EvaluateOptions options;
    options.judge = &judge;
    return message_of(ErrorCode::kArgument, [&] { evaluate(model, folder, options); });
  };
  EXPECT_NE(judged_by(model), "");
  EXPECT_NE(judged_by(small_model({"bad", "intact"}, 1, ModelKind::kClassifier)), "");
  EXPECT_NE(judged_by(small_model({"crack", "intact"}, 1, ModelKind::kClassifier, 32)), "");
  ImageFolder no_test = folder;
  no_test.records[static_cast<int>(Split::kTest)].clear();
  EXPECT_NE(message_of(ErrorCode::kData, [&] { evaluate(model, no_test, {}); }), "");
}

TEST_F(EvaluatorTest, WarnsOfAJudgeThatMayHaveSeenTheTestImages) {
  Rng rng(3);
  for (const std::string name : {"crack", "intact"})
    for (int i = 0; i < 8; ++i)
      write_image(root_ / name / (std::to_string(i) + ".png"), noise(rng));
  const Model model = small_model({"crack", "intact"}, 1);
  Model judge = small_model({"crack", "intact"}, 1, ModelKind::kClassifier);
  EvaluateOptions options;
  options.judge = &judge;
  const auto said = [&] {
    testing::internal::CaptureStderr();
    evaluate(model, scan(model), options);
    return testing::internal::GetCapturedStderr();
  };
  EXPECT_EQ(said().find("--split-seed"), std::string::npos);
  judge.config.data.split_seed = 2;
  EXPECT_NE(said().find("--split-seed"), std::string::npos);
}

TEST_F(EvaluatorTest, WritesTextAndJson) {
  make_data({"crack", "intact"});
  Model model = lively_model({"crack", "intact"}, 1);
  model.thresholds.label_free = 0.15;
  const Results results = evaluate(model, scan(model), {});
  const auto json = nlohmann::json::parse(to_json(results));
  EXPECT_EQ(json["split"], "test");
  EXPECT_EQ(json["reference_class"], "intact");
  EXPECT_DOUBLE_EQ(json["accuracy"], results.accuracy);
  EXPECT_DOUBLE_EQ(json["label_free"]["iou"], results.label_free->iou);
  EXPECT_EQ(json["without_cast"], false);
  EXPECT_TRUE(json["tuned"].is_null());
  EXPECT_TRUE(json["judge_accuracy"].is_null());
  EXPECT_DOUBLE_EQ(json["faithfulness"]["cout"], results.faithfulness->cout);
  EXPECT_TRUE(json["judge_faithfulness"].is_null());
  EXPECT_EQ(json["exact_faithfulness"]["images"], results.exact_faithfulness->images);
  EXPECT_EQ(json["flips"][0]["from"], "crack");
  EXPECT_DOUBLE_EQ(json["false_marks"], results.false_marks);
  EXPECT_EQ(json["findings"].size(), find_flaws(results).size());
  EXPECT_EQ(json["confusion"].size(), 2u);
  const std::string text = to_text(results);
  EXPECT_NE(text.find("crack > intact"), std::string::npos) << text;
  EXPECT_NE(text.find("label-free"), std::string::npos) << text;
  EXPECT_NE(text.find("note: few images"), std::string::npos) << text;
  EXPECT_EQ(text.find("tuned"), std::string::npos) << text;
}

}  // namespace
}  // namespace flipside::evaluator_test
