#include "flipside/train/warmup_control.h"

#include <gtest/gtest.h>

#include <cmath>

namespace flipside::warmup_control_test {
namespace {

const double kChance = std::log(2.0);

/// Observes `loss` from the step after `from` to the step `to`, or where the warm-up ends.
void observe(WarmupControl& control, int64_t from, int64_t to, double loss) {
  for (int64_t step = from + 1; step <= std::min(to, control.steps()); ++step)
    control.observe(step, loss);
}

TEST(WarmupControl, EndsInTimeWhereSomethingWasLearned) {
  WarmupControl control(100, 1000, 2);
  observe(control, 0, 100, 0.85 * kChance);
  EXPECT_EQ(control.steps(), 100);
}

TEST(WarmupControl, GoesOnUntilTheClassesAreTold) {
  WarmupControl control(100, 1000, 2);
  observe(control, 0, 100, kChance);
  EXPECT_EQ(control.steps(), 1000);
  observe(control, 100, 300, 0.6 * kChance);  // better, but not yet well
  EXPECT_EQ(control.steps(), 1000);
  // The mean falls from .6 to .4 of chance as (1 - 1/50)^n: below .5 after 35 steps and some.
  observe(control, 300, 1000, 0.4 * kChance);
  const double left = 0.4 * std::pow(0.98, 200) / 0.2;  // of the first steps' share
  EXPECT_NEAR(control.steps(), 300 + std::ceil(std::log(0.5 / (1 + left)) / std::log(0.98)), 1);
}

TEST(WarmupControl, EndsSometime) {
  WarmupControl control(100, 250, 4);
  observe(control, 0, 250, std::log(4.0));
  EXPECT_EQ(control.steps(), 250);
}

TEST(WarmupControl, LeavesShortWarmUpsAlone) {
  WarmupControl control(99, 1000, 2);
  observe(control, 0, 99, kChance);
  EXPECT_EQ(control.steps(), 99);
  WarmupControl none(0, 1000, 2);
  EXPECT_EQ(none.steps(), 0);
  WarmupControl exact(200, 100, 2);
  observe(exact, 0, 200, kChance);
  EXPECT_EQ(exact.steps(), 200);
}

TEST(WarmupControl, LearningRateFallsWhileItGoesOn) {
  const WarmupControl control(100, 1000, 2);
  EXPECT_EQ(control.lr_factor(0), 1);
  EXPECT_EQ(control.lr_factor(99), 1);
  EXPECT_DOUBLE_EQ(control.lr_factor(199), 0.5);
  EXPECT_DOUBLE_EQ(control.lr_factor(900), 0.2);
}

TEST(WarmupControl, StateGoesOn) {
  WarmupControl whole(100, 1000, 2), first(100, 1000, 2), second(100, 1000, 2);
  observe(whole, 0, 150, kChance);
  observe(first, 0, 120, kChance);
  second.load_state(first.state());
  observe(second, 120, 150, kChance);
  const TensorMap a = whole.state(), b = second.state();
  for (const auto& [name, value] : a) EXPECT_TRUE(torch::equal(value, b.at(name))) << name;
  second.load_state({});  // of an earlier version
  EXPECT_EQ(second.steps(), 1000);
}

}  // namespace
}  // namespace flipside::warmup_control_test
