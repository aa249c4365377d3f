#include "flipside/eval/doubt.h"

#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "flipside/core/random.h"
#include "flipside/data/picture_files.h"
#include "flipside/eval/confidence.h"
#include "flipside/eval/model_folder.h"
#include "support/small_model.h"
#include "support/temp_folder.h"

namespace flipside::doubt_test {
namespace {

constexpr int kSide = 16, kPerClass = 8;

cv::Mat noise(Rng& rng) {
  cv::Mat image(kSide, kSide, CV_8UC3);
  for (int i = 0; i < kSide * kSide * 3; ++i) image.data[i] = static_cast<uint8_t>(rng.below(256));
  return image;
}

class DoubtTest : public testing::Test {
 protected:
  DoubtTest() {
    Rng rng(9);
    for (const std::string split : {"train", "val", "test"})
      for (const std::string name : {"crack", "intact"})
        for (int i = 0; i < kPerClass; ++i)
          write_image(root_ / split / name / (std::to_string(i) + ".png"), noise(rng));
    for (int i = 0; i < 5; ++i)
      foreign_.write_image(std::to_string(i) + ".png", cv::Scalar(10 * i, 200, 30), {20, 12});
  }
  ImageFolder scan(const Model& model) const { return scan_for_model(root_.path(), model); }
  TempFolder root_, foreign_;
};

TEST_F(DoubtTest, AgreesWithASlowLoop) {
  const Model model = lively_model({"crack", "intact"}, 1);
  const ImageFolder folder = scan(model);
  DoubtOptions options;
  options.foreign = foreign_.path();
  options.batch = 3;
  const DoubtResults results = measure_doubt(model, folder, options);
  EXPECT_EQ(results.images, 2 * kPerClass);
  EXPECT_EQ(results.validation_images, 2 * kPerClass);

  std::vector<double> doubts;
  std::vector<bool> errors;
  for (const auto& record : folder.split(Split::kTest)) {
    const DoubtScores scores =
        doubt_scores(model, to_tensor(read_image(record.image)).unsqueeze(0));
    doubts.push_back(scores.at("fake_logit").item<double>());
    errors.push_back(scores.probs.argmax().item<int64_t>() != record.label);
  }
  double pairs = 0, wins = 0;
  for (size_t i = 0; i < doubts.size(); ++i)
    for (size_t j = 0; j < doubts.size(); ++j)
      if (errors[i] && !errors[j]) {
        ++pairs;
        wins += doubts[i] > doubts[j] ? 1.0 : doubts[i] == doubts[j] ? 0.5 : 0.0;
      }
  EXPECT_EQ(results.wrong, std::count(errors.begin(), errors.end(), true));
  ASSERT_GT(pairs, 0);
  for (const auto& score : results.scores) {
    EXPECT_EQ(score.risks.size(), doubts.size());
    if (score.score == "fake_logit") {
      EXPECT_NEAR(score.auroc, wins / pairs, 1e-6);
    }
  }
  // JPEG can be made again here: the wrongly answered ones against all clean ones, pair by pair.
  double fooled = 0, fooled_wins = 0;
  for (const auto& record : folder.split(Split::kTest)) {
    const DoubtScores scores =
        doubt_scores(model, through_jpeg(to_tensor(read_image(record.image)).unsqueeze(0), 10));
    if (scores.probs.argmax().item<int64_t>() == record.label) continue;
    ++fooled;
    const double doubt = scores.at("fake_logit").item<double>();
    for (const double clean : doubts)
      fooled_wins += doubt > clean ? 1.0 : doubt == clean ? 0.5 : 0.0;
  }
  std::vector<std::string> kinds;
  for (const auto& kind : results.strange) {
    kinds.push_back(kind.name);
    EXPECT_EQ(kind.scores.size(), results.scores.size());
    EXPECT_EQ(kind.images, kind.name == "foreign" ? 5 : 2 * kPerClass);
    for (const auto& score : kind.scores) {
      if (kind.wrong == 0) {
        EXPECT_TRUE(std::isnan(score.auroc_wrong)) << kind.name;
      }
      if (kind.name == "jpeg" && score.score == "fake_logit") {
        EXPECT_EQ(kind.wrong, fooled);
        EXPECT_NEAR(score.auroc_wrong, fooled_wins / (fooled * static_cast<double>(doubts.size())),
                    1e-6);
      }
    }
  }
  EXPECT_EQ(kinds,
            (std::vector<std::string>{"attacked", "attacked, all views", "attacked, adaptive",
                                      "attacked, views and head", "attacked, everything",
                                      "counterfactual", "blurred", "noisy", "jpeg", "foreign"}));
  const auto json = nlohmann::json::parse(to_json(results));
  EXPECT_EQ(json["strange"].size(), 10u);
  EXPECT_NE(to_text(results).find("fake_logit"), std::string::npos);
}

/// The scores of all validation images, one after the other, and which answers are wrong.
std::pair<DoubtScores, Tensor> validation_scores(const Model& model, const ImageFolder& folder) {
  std::vector<Tensor> values;
  std::vector<std::string> names;
  const auto& records = folder.split(Split::kVal);
  Tensor wrong = torch::zeros({static_cast<int64_t>(records.size())}, torch::kBool);
  for (size_t i = 0; i < records.size(); ++i) {
    const DoubtScores scores =
        answer_scores(model, to_tensor(read_image(records[i].image)).unsqueeze(0));
    names = scores.names;
    values.push_back(scores.values);
    wrong[static_cast<int64_t>(i)] = scores.probs.argmax().item<int64_t>() != records[i].label;
  }
  return {{names, torch::cat(values), {}, {}}, wrong};
}

TEST_F(DoubtTest, TheRuleIsAnotherScoreWhereItRanksErrorsClearlyBetter) {
  const torch::NoGradGuard no_grad;
  Model model = lively_model({"crack", "intact"}, 1);
  const ImageFolder folder = scan(model);
  int own_ones = 0, others = 0;
  for (int seed = 0; seed < 8; ++seed) {
    torch::manual_seed(seed);
    for (auto& parameter : model.discriminator->parameters())
      parameter.add_(0.1 * torch::randn(parameter.sizes()));
    const auto [scores, wrong] = validation_scores(model, folder);
    if (wrong.sum().item<int64_t>() < 5) continue;
    const auto rule = choose_doubt_rule(model, folder, 0.75);
    ASSERT_TRUE(rule);
    EXPECT_EQ(rule->coverage, 0.75);
    const double own = aurc(scores.at("max_softmax"), wrong);
    double least = own;
    for (const auto& name : scores.names) least = std::min(least, aurc(scores.at(name), wrong));
    EXPECT_NEAR(aurc(scores.at(rule->score), wrong), least < 0.8 * own ? least : own, 1e-6);
    ++(least < 0.8 * own ? others : own_ones);
    // Twelve of the sixteen images pass: the threshold is the largest score among them.
    const Tensor sorted = std::get<0>(scores.at(rule->score).sort());
    EXPECT_NEAR(rule->threshold, sorted[11].item<double>(), 1e-5 * (1 + std::abs(rule->threshold)));
  }
  EXPECT_GT(own_ones, 0);
  EXPECT_GT(others, 0);
}

TEST_F(DoubtTest, TheRuleOfAModelWithoutErrorsIsItsOwnProbability) {
  Model model = lively_model({"crack", "intact"}, 1);
  for (const bool averaged : {false, true}) {
    model.config.explain.average_views = averaged;
    // Five wrong answers are needed to choose by; here every image is made to be answered rightly.
    const ImageFolder folder = scan(model);
    for (const auto& record : folder.split(Split::kVal)) {
      const Tensor image = to_tensor(read_image(record.image)).unsqueeze(0);
      const int64_t answer = real_class_probs(model, image).argmax().item<int64_t>();
      fs::rename(record.image, root_ / "val" / (answer == 0 ? "crack" : "intact") /
                                   ("of_" + record.image.parent_path().filename().string() +
                                    record.image.filename().string()));
    }
    const auto rule = choose_doubt_rule(model, scan(model), 0.95);
    ASSERT_TRUE(rule);
    EXPECT_EQ(rule->score, averaged ? "answer" : "max_softmax");
  }
  const Model segmenter = small_model({"crack", "intact"}, 1, ModelKind::kSegmenter);
  EXPECT_FALSE(choose_doubt_rule(segmenter, scan(model), 0.95));
}

TEST_F(DoubtTest, ClassifiersAreMeasuredToo) {
  const Model model = small_model({"crack", "intact"}, 1, ModelKind::kClassifier);
  const DoubtResults results = measure_doubt(model, scan(model), {});
  EXPECT_EQ(results.strange.size(), 5u);
  EXPECT_EQ(results.scores.front().score, "max_softmax");
}

TEST_F(DoubtTest, TheRejectThresholdLetsThePromisedShareThrough) {
  const Model model = lively_model({"crack", "intact"}, 1);
  const ImageFolder folder = scan(model);
  for (const double accept : {0.5, 0.75, 1.0}) {
    const double threshold =
        choose_reject_threshold(model, folder, RejectScore::kFakeLogit, accept);
    int passed = 0;
    for (const auto& record : folder.split(Split::kVal))
      passed += doubt_scores(model, to_tensor(read_image(record.image)).unsqueeze(0))
                    .at("fake_logit")
                    .item<double>() <= threshold + 1e-5;
    EXPECT_EQ(passed, static_cast<int>(std::ceil(accept * 2 * kPerClass)));
  }
}

}  // namespace
}  // namespace flipside::doubt_test
