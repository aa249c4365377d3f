#include "flipside/train/identity_control.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

namespace flipside::identity_control_test {
namespace {

const Tensor kYes = torch::ones({}, torch::kDouble), kNo = torch::zeros({}, torch::kDouble);

/// Of a step that asks two reference images to stay and turns four others, which change by 0.1.
Tensor counts(double kept_change, double flipped = 4) {
  return torch::tensor({2.0, 2 * kept_change, 4.0, 0.4, flipped}, torch::kDouble);
}

double factor_after(int steps, const Tensor& counts, IdentityControl control) {
  for (int i = 0; i < steps; ++i) control.observe(counts, kYes);
  return control.factor().item<double>();
}

TEST(IdentityControl, CountsImagesAskedForTheReferenceClass) {
  const Tensor change = torch::tensor({0.5, 0.25, 0.125, 1.0});
  const Tensor kept = torch::tensor({true, false, false, false});
  const Tensor turned = torch::tensor({false, true, true, false});
  const Tensor flipped = torch::tensor({true, true, false, true});
  EXPECT_TRUE(torch::equal(IdentityControl::count(change, kept, turned, flipped),
                           torch::tensor({1.0, 0.5, 2.0, 0.375, 1.0}, torch::kDouble)));
}

TEST(IdentityControl, RisesWhileGoodImagesChangeTooMuchByHand) {
  // 0.06 of 0.1 is 0.6, over the goal by 0.3 of the 0.7 that there are above it.
  EXPECT_NEAR(factor_after(40, counts(0.06), IdentityControl(0.3)),
              std::exp(40 * 0.01 * (0.3 / 0.7)), 1e-5);
  // More than everything is no worse than everything.
  EXPECT_NEAR(factor_after(40, counts(0.5), IdentityControl(0.3)), std::exp(0.4), 1e-5);
}

TEST(IdentityControl, AveragesOverSteps) {
  IdentityControl control(0.3);
  double average = 0, weight = 0, log_factor = 0;
  for (int i = 0; i < 60; ++i) {
    const double change = i % 2 == 0 ? 0.09 : 0.05;
    control.observe(counts(change), kYes);
    average = 0.99 * average + 0.01 * change;
    weight = 0.99 * weight + 0.01;
    log_factor += 0.01 * std::clamp((average / weight / 0.1 - 0.3) / 0.7, -1.0, 1.0);
  }
  EXPECT_NEAR(control.factor().item<double>(), std::exp(log_factor), 1e-5);
}

TEST(IdentityControl, NeverFallsBelowTheConfiguredWeight) {
  EXPECT_EQ(factor_after(100, counts(0.001), IdentityControl(0.3)), 1);
}

TEST(IdentityControl, ComesBackWhenGoodImagesAreLeftAlone) {
  IdentityControl control(0.3);
  const double high = factor_after(200, counts(0.1), control);  // shares its state
  EXPECT_GT(high, 5);
  EXPECT_EQ(factor_after(600, counts(0.0), control), 1);
}

TEST(IdentityControl, FallsWhileFewFlip) {
  IdentityControl control(0.3);
  const double high = factor_after(200, counts(0.1, /*flipped=*/3), control);
  EXPECT_GT(high, 5);
  EXPECT_LT(factor_after(200, counts(0.1, /*flipped=*/1), control), high);
}

TEST(IdentityControl, StaysWithinBounds) {
  EXPECT_NEAR(factor_after(2000, counts(0.1), IdentityControl(0.3)), 30, 1e-4);
}

TEST(IdentityControl, MovesNothingBeforeAnythingWasSeenOrUntilAsked) {
  IdentityControl control(0.3);
  control.observe(torch::zeros({5}, torch::kDouble), kYes);
  EXPECT_EQ(control.factor().item<double>(), 1);
  for (int i = 0; i < 100; ++i) control.observe(counts(0.1), kNo);
  EXPECT_EQ(control.factor().item<double>(), 1);
  EXPECT_EQ(factor_after(10, counts(0.1), IdentityControl(0)), 1);
}

TEST(IdentityControl, GoesOnFromItsState) {
  IdentityControl whole(0.3), first(0.3), second(0.3);
  for (int i = 0; i < 20; ++i) whole.observe(counts(0.08), kYes);
  for (int i = 0; i < 10; ++i) first.observe(counts(0.08), kYes);
  second.load_state(first.state());
  for (int i = 0; i < 10; ++i) second.observe(counts(0.08), kYes);
  EXPECT_TRUE(torch::equal(second.factor(), whole.factor()));
  EXPECT_FALSE(torch::equal(second.factor(), first.factor()));
}

}  // namespace
}  // namespace flipside::identity_control_test
