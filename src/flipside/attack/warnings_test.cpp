#include "flipside/attack/warnings.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "support/simple_victims.h"

namespace flipside::warnings_test {
namespace {

struct Case {
  Victim victim;
  Tensor images, labels;
  std::vector<double> eps{0.02, 0.05, 0.1};

  std::vector<Warning> warnings() const {
    SuiteOptions options;
    options.eps = eps;
    options.steps = 30;
    options.queries = 200;
    std::vector<Warning> all = check_victim(victim, images, labels, options);
    const SuiteRecord record = run_suite(victim, victim, images, labels, options);
    for (const auto& warning : check_record(record)) all.push_back(warning);
    return all;
  }
};

bool has(const std::vector<Warning>& warnings, WarningKind kind) {
  return std::any_of(warnings.begin(), warnings.end(),
                     [kind](const Warning& warning) { return warning.kind == kind; });
}

Case honest_case() {
  Case result{curved_victim(8, 3, 5, 0.7), {}, {}};
  torch::manual_seed(2);
  result.images = torch::rand({150, 2, 2, 2});
  result.labels = result.victim.answers(result.images);
  return result;
}

/// The honest victim seen through `change`.
Case seen_through(const std::function<Tensor(const LogitsFunction&, const Tensor&)>& change) {
  Case result = honest_case();
  const LogitsFunction inner = result.victim.logits;
  result.victim.logits = [inner, change](const Tensor& x) { return change(inner, x); };
  result.labels = result.victim.answers(result.images);
  return result;
}

TEST(Warnings, AnHonestModelRaisesNone) {
  for (const auto& warning : honest_case().warnings()) ADD_FAILURE() << warning.text;
}

TEST(Warnings, ZeroGradientsAndABetterSquare) {
  // Rounding to 256 levels: the same answers, no gradient.
  const Case masked = seen_through(
      [](const LogitsFunction& inner, const Tensor& x) { return inner((x * 255).round() / 255); });
  const auto warnings = masked.warnings();
  EXPECT_TRUE(has(warnings, WarningKind::kZeroGradient));
  EXPECT_TRUE(has(warnings, WarningKind::kSquareWins));
}

TEST(Warnings, AConstantModelNeitherFallsNorIsAtChance) {
  Case constant = seen_through([](const LogitsFunction& inner, const Tensor& x) {
    return 0 * inner(x) + torch::tensor({1.0f, 0.0f, 0.0f});
  });
  const auto warnings = constant.warnings();
  EXPECT_TRUE(has(warnings, WarningKind::kCurveDoesNotFall));
  EXPECT_TRUE(has(warnings, WarningKind::kFullRange));
}

TEST(Warnings, RandomModels) {
  const auto warnings = seen_through([](const LogitsFunction& inner, const Tensor& x) {
                          const Tensor logits = inner(x);
                          return logits + 0.3 * torch::randn_like(logits);
                        }).warnings();
  EXPECT_TRUE(has(warnings, WarningKind::kRandom));
}

TEST(Warnings, Probabilities) {
  const auto warnings = seen_through([](const LogitsFunction& inner, const Tensor& x) {
                          return inner(x).softmax(1);
                        }).warnings();
  EXPECT_TRUE(has(warnings, WarningKind::kProbabilities));
  EXPECT_FALSE(has(warnings, WarningKind::kRandom));
}

TEST(Warnings, StepsThatDisagree) {
  // A slope with ripples of a tenth of eps: 100 small steps stay in the first one, 20 larger ones
  // jump over them.
  constexpr double kEps = 0.1, kPeriod = 0.1 * kEps, kHeight = 1.5 * kPeriod / (2 * M_PI);
  Case rippled;
  rippled.victim = {[](const Tensor& x) {
                      const Tensor u = x.flatten(1).to(torch::kDouble) - 0.5;
                      const Tensor score =
                          (u + kHeight * (2 * M_PI / kPeriod * u).sin()).sum(1) - 8 * 0.5 * kEps;
                      return torch::stack({torch::zeros_like(score), score}, 1);
                    },
                    2, false};
  torch::manual_seed(3);
  rippled.images = 0.5 + 0.02 * (torch::rand({100, 2, 2, 2}) - 0.5);
  rippled.labels = torch::zeros({100}, torch::kInt64);
  rippled.eps = {kEps};
  EXPECT_TRUE(has(rippled.warnings(), WarningKind::kStepsDisagree));
}

TEST(Warnings, ACurveThatRises) {
  SuiteRecord record{2, false, std::vector<int64_t>(100, 0), std::vector<int64_t>(100, 0), {}};
  std::vector<int64_t> half(100, 0);
  std::fill(half.begin(), half.begin() + 50, 1);
  record.stages = {{0.1, "PGD-100", true, half}, {0.2, "PGD-100", true, half}};
  EXPECT_FALSE(has(check_record(record), WarningKind::kCurveDoesNotFall));
  std::fill(record.stages[1].answers.begin(), record.stages[1].answers.begin() + 10, 0);
  EXPECT_TRUE(has(check_record(record), WarningKind::kCurveDoesNotFall));
}

}  // namespace
}  // namespace flipside::warnings_test
