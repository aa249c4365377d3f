#include "flipside/eval/robustness.h"

#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "flipside/core/random.h"
#include "flipside/eval/meters.h"

namespace flipside::robustness_test {
namespace {

TEST(Intervals, WilsonAgreesWithPublishedValues) {
  const Interval some = wilson_interval(8, 10);  // 0.4902 to 0.9433
  EXPECT_NEAR(some.low, 0.4902, 1e-4);
  EXPECT_NEAR(some.high, 0.9433, 1e-4);
  EXPECT_EQ(wilson_interval(0, 20).low, 0);
  EXPECT_NEAR(wilson_interval(0, 20).high, 0.1611, 1e-4);
  EXPECT_TRUE(std::isnan(wilson_interval(0, 0).low));
}

TEST(Intervals, BootstrapOfAMeanIsAsWideAsTheNormalOne) {
  Rng rng(4);
  std::vector<double> values;
  for (int i = 0; i < 400; ++i) values.push_back(rng.normal());
  const auto mean = [&](const std::vector<int64_t>& rows) {
    double sum = 0;
    for (int64_t row : rows) sum += values[row];
    return sum / static_cast<double>(rows.size());
  };
  const Interval interval = bootstrap_interval(400, mean, 7);
  EXPECT_NEAR(interval.high - interval.low, 2 * 1.96 / 20, 0.03);
  const Interval again = bootstrap_interval(400, mean, 7);
  EXPECT_EQ(again.low, interval.low);
  EXPECT_EQ(again.high, interval.high);
}

/// Six images: classes 0, 0, 0, 1, 1, 1; the judge may reject (answer 2).
SuiteRecord example() {
  SuiteRecord record{2, true, {0, 0, 0, 1, 1, 1}, {0, 0, 1, 1, 1, 2}, {}};
  record.stages = {{0.1, "PGD-20", true, {0, 2, 1, 1, 0, 2}},
                   {0.1, "FAB", false, {1, 2, 1, 1, 0, 2}},
                   {0.2, "PGD-20", true, {0, 1, 1, 1, 1, 0}}};
  return record;
}

TEST(Robustness, CountsAnswersRejectionsAndTheWorstCase) {
  const Robustness result = summarise(example(), {0.1, 0.2}, "example", {});
  ASSERT_EQ(result.scores.size(), 6u);  // clean, two attacks, worst; one attack, worst
  const auto& clean = result.scores[0];
  EXPECT_DOUBLE_EQ(clean.accuracy, 4.0 / 6);
  EXPECT_DOUBLE_EQ(clean.accepted, 5.0 / 6);
  EXPECT_DOUBLE_EQ(clean.accepted_accuracy, 4.0 / 5);
  EXPECT_DOUBLE_EQ(clean.defended, 5.0 / 6);
  const auto& worst = result.scores[3];
  EXPECT_EQ(worst.attack, kWorstCase);
  EXPECT_DOUBLE_EQ(worst.accuracy, 1.0 / 6);  // only image 3 stays right
  EXPECT_DOUBLE_EQ(worst.defended, 3.0 / 6);
  // Wrong at a smaller bound is wrong at a greater one.
  EXPECT_EQ(example().worst(0.2), (std::vector<int64_t>{1, 1, 1, 1, 0, 0}));
  EXPECT_DOUBLE_EQ(result.scores[5].accuracy, 1.0 / 6);
}

TEST(Robustness, MacroF1IsTheMetersOne) {
  const SuiteRecord record = example();
  const Robustness result = summarise(record, {0.1, 0.2}, "example", {});
  ConfusionMeter meter(2);
  const auto& answers = record.stages[2].answers;
  meter.add(torch::tensor(record.labels), torch::tensor(answers));
  EXPECT_NEAR(result.scores[4].macro_f1, meter.macro_f1(), 1e-12);
  EXPECT_LE(result.scores[4].macro_f1_interval.low, result.scores[4].macro_f1);
  EXPECT_GE(result.scores[4].macro_f1_interval.high, result.scores[4].macro_f1);
}

TEST(Robustness, WritesTextAndJson) {
  RobustnessReport report;
  report.split = "test";
  report.images = 6;
  report.class_names = {"bad", "good"};
  report.reject_threshold = 0.25;
  report.victims = {
      summarise(example(), {0.1, 0.2}, "example", {{WarningKind::kRandom, "it is random"}})};
  const auto json = nlohmann::json::parse(to_json(report));
  EXPECT_EQ(json["victims"][0]["scores"].size(), 6u);
  EXPECT_DOUBLE_EQ(json["victims"][0]["scores"][3]["right_or_rejected"], 0.5);
  EXPECT_EQ(json["victims"][0]["warnings"][0], "it is random");
  const std::string text = to_text(report);
  EXPECT_NE(text.find("WARNING: it is random"), std::string::npos) << text;
  EXPECT_NE(text.find("25.5/255 worst case"), std::string::npos) << text;
  EXPECT_NE(text.find("right or rejected"), std::string::npos) << text;
}

}  // namespace
}  // namespace flipside::robustness_test
