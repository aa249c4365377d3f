#include "flipside/eval/confidence.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "flipside/core/error.h"
#include "flipside/core/random.h"

namespace flipside::confidence_test {
namespace {

/// Scores with many ties, and answers that are wrong the more often the higher the score.
struct Answers {
  explicit Answers(uint64_t seed, int64_t n = 200) {
    Rng rng(seed);
    for (int64_t i = 0; i < n; ++i) {
      doubts.push_back(static_cast<double>(rng.below(15)));
      errors.push_back(rng.chance(doubts.back() / 30) ? 1.0 : 0.0);
    }
    doubt = torch::tensor(doubts, torch::kDouble);
    wrong = torch::tensor(errors, torch::kDouble) > 0.5;
  }
  std::vector<double> doubts, errors;
  Tensor doubt, wrong;
};

TEST(Confidence, RiskIsTheMeanErrorOfTheLeastDoubtful) {
  const Answers answers(3);
  const auto risks = risk_curve(answers.doubt, answers.wrong);
  ASSERT_EQ(risks.size(), 200u);
  for (int64_t m = 1; m <= 200; ++m) {
    // The m least doubtful; of those tied at the edge the mean share.
    auto sorted = answers.doubts;
    std::sort(sorted.begin(), sorted.end());
    const double edge = sorted[m - 1];
    double below = 0, below_errors = 0, tied = 0, tied_errors = 0;
    for (int64_t i = 0; i < 200; ++i) {
      if (answers.doubts[i] < edge) ++below, below_errors += answers.errors[i];
      if (answers.doubts[i] == edge) ++tied, tied_errors += answers.errors[i];
    }
    const double errors = below_errors + (static_cast<double>(m) - below) * tied_errors / tied;
    EXPECT_NEAR(risks[m - 1], errors / static_cast<double>(m), 1e-9);
  }
  double sum = 0;
  for (double risk : risks) sum += risk;
  EXPECT_NEAR(aurc(answers.doubt, answers.wrong), sum / 200, 1e-12);
  EXPECT_DOUBLE_EQ(risk_at_coverage(answers.doubt, answers.wrong, 0.8), risks[159]);
  EXPECT_DOUBLE_EQ(risk_at_coverage(answers.doubt, answers.wrong, 0.901), risks[180]);
  EXPECT_DOUBLE_EQ(risk_at_coverage(answers.doubt, answers.wrong, 1.0), risks[199]);
}

TEST(Confidence, ScoresMustBeNumbers) {
  const Tensor doubt = torch::tensor({0.1, std::nan(""), 0.3}), wrong = torch::tensor({0, 1, 0});
  EXPECT_THROW(risk_curve(doubt, wrong), Error);
  EXPECT_THROW(aurc(doubt, wrong), Error);
}

TEST(Confidence, AurcPrefersTheScoreThatKnows) {
  const Answers answers(4);
  const Tensor oracle = answers.wrong.to(torch::kDouble);
  EXPECT_LT(aurc(oracle, answers.wrong), aurc(answers.doubt, answers.wrong));
  EXPECT_LT(aurc(answers.doubt, answers.wrong), aurc(-answers.doubt, answers.wrong));
}

TEST(Confidence, Fpr95AgreesWithASlowLoop) {
  Rng rng(5);
  std::vector<double> strange, known;
  for (int i = 0; i < 60; ++i) strange.push_back(std::round(10 * rng.normal(1)));
  for (int i = 0; i < 80; ++i) known.push_back(std::round(10 * rng.normal(0)));
  double best = 1;
  for (double threshold = -60; threshold <= 60; ++threshold) {
    double found = 0, false_alarms = 0;
    for (double score : strange) found += score >= threshold;
    for (double score : known) false_alarms += score >= threshold;
    if (found / 60 >= 0.95) best = std::min(best, false_alarms / 80);
  }
  EXPECT_DOUBLE_EQ(fpr_at_95_tpr(torch::tensor(strange), torch::tensor(known)), best);
}

TEST(Confidence, CalibrationErrorAgreesWithASlowLoop) {
  torch::manual_seed(6);
  const Tensor probs = (2 * torch::randn({300, 3}, torch::kDouble)).softmax(1);
  const Tensor labels = torch::randint(0, 3, {300}, torch::kInt64);
  double error = 0;
  for (int bin = 0; bin < 15; ++bin) {
    double count = 0, right = 0, sure = 0;
    for (int64_t i = 0; i < 300; ++i) {
      const double p = probs[i].max().item<double>();
      if (p < bin / 15.0 || (p >= (bin + 1) / 15.0 && bin < 14)) continue;
      ++count;
      sure += p;
      right += probs[i].argmax().item<int64_t>() == labels[i].item<int64_t>();
    }
    if (count > 0) error += count / 300 * std::abs(right / count - sure / count);
  }
  EXPECT_NEAR(calibration_error(probs, labels), error, 1e-9);
}

TEST(Confidence, TemperatureUndoesOverconfidence) {
  // Labels drawn from softmax(logits): the true temperature is 1; logits times 3 need 3.
  torch::manual_seed(7);
  const Tensor logits = 1.5 * torch::randn({4000, 3}, torch::kDouble);
  const Tensor labels = torch::multinomial(logits.softmax(1), 1).squeeze(1);
  const double t = fit_temperature(3 * logits, labels);
  EXPECT_NEAR(t, 3.0, 0.25);
  EXPECT_LT(calibration_error((3 * logits / t).softmax(1), labels),
            calibration_error((3 * logits).softmax(1), labels));
  const auto loss = [&](double temperature) {
    return torch::nn::functional::cross_entropy(3 * logits / temperature, labels).item<double>();
  };
  EXPECT_LE(loss(t), loss(1.02 * t));
  EXPECT_LE(loss(t), loss(0.98 * t));
}

}  // namespace
}  // namespace flipside::confidence_test
