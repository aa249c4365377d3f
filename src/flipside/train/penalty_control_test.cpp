#include "flipside/train/penalty_control.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

namespace flipside::penalty_control_test {
namespace {

const Tensor kYes = torch::ones({}, torch::kDouble), kNo = torch::zeros({}, torch::kDouble);

Tensor counts(const std::vector<double>& asked, const std::vector<double>& flipped) {
  return torch::stack(
      {torch::tensor(asked, torch::kDouble), torch::tensor(flipped, torch::kDouble)});
}

std::vector<double> factors(const PenaltyControl& control) {
  const Tensor f = control.factors(torch::tensor({0, 1}, torch::kInt64));
  return {f[0].item<double>(), f[1].item<double>()};
}

TEST(PenaltyControl, CountsPerDirection) {
  const PenaltyControl control(3, 0.9);
  const Tensor result = control.count(torch::tensor({2, 0, 2, 2}, torch::kInt64),
                                      torch::tensor({true, false, false, true}));
  EXPECT_TRUE(torch::equal(result, counts({1, 0, 3}, {0, 0, 2})));
}

TEST(PenaltyControl, RisesWhereNearlyAllFlipAndFallsWhereFewDo) {
  PenaltyControl control(2, 0.9);
  EXPECT_EQ(factors(control), (std::vector<double>{1, 1}));
  // By hand: the rate's average starts at the goal; log factor moves by its excess in units of 0.1.
  double rate = 0.9, log_factor = 0;
  for (int i = 0; i < 30; ++i) {
    control.observe(counts({4, 6}, {4, 3}), kYes);
    const double kept = std::pow(0.995, 4);
    rate = kept * rate + (1 - kept) * 1.0;
    log_factor += 0.01 * std::clamp((rate - 0.9) / 0.1, -1.0, 1.0);
  }
  EXPECT_NEAR(factors(control)[0], std::exp(log_factor), 1e-6);
  EXPECT_GT(factors(control)[0], 1.05);
  EXPECT_LT(factors(control)[1], 0.95);
}

TEST(PenaltyControl, WatchesButDoesNotMoveUntilAsked) {
  PenaltyControl control(2, 0.9);
  for (int i = 0; i < 100; ++i) control.observe(counts({8, 8}, {0, 8}), kNo);
  EXPECT_EQ(factors(control), (std::vector<double>{1, 1}));
  control.observe(counts({0, 0}, {0, 0}), kYes);  // what was seen before counts
  EXPECT_LT(factors(control)[0], 1);
  EXPECT_GT(factors(control)[1], 1);
}

TEST(PenaltyControl, StaysWithinBounds) {
  PenaltyControl control(2, 0.9);
  for (int i = 0; i < 2000; ++i) control.observe(counts({8, 8}, {0, 8}), kYes);
  EXPECT_NEAR(factors(control)[0], 1 / 30.0, 1e-6);
  EXPECT_NEAR(factors(control)[1], 30, 1e-4);
}

TEST(PenaltyControl, GoalZeroLeavesTheWeightsAlone) {
  PenaltyControl control(2, 0);
  for (int i = 0; i < 10; ++i) control.observe(counts({8, 8}, {0, 8}), kYes);
  EXPECT_EQ(factors(control), (std::vector<double>{1, 1}));
}

TEST(PenaltyControl, GoesOnFromItsState) {
  PenaltyControl whole(2, 0.9), first(2, 0.9), second(2, 0.9);
  const Tensor step = counts({5, 3}, {4, 3});
  for (int i = 0; i < 20; ++i) whole.observe(step, kYes);
  for (int i = 0; i < 10; ++i) first.observe(step, kYes);
  second.load_state(first.state());
  for (int i = 0; i < 10; ++i) second.observe(step, kYes);
  EXPECT_EQ(factors(second), factors(whole));
  EXPECT_NE(factors(second), factors(first));
}

}  // namespace
}  // namespace flipside::penalty_control_test
