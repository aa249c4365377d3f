#include "flipside/train/losses.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "support/gradcheck.h"

namespace flipside::losses_test {
namespace {

const AdversarialForm kPaper{FakeHead::kSoftmax, AdversarialLoss::kCrossEntropy};
const AdversarialForm kFactorised{FakeHead::kFactorised, AdversarialLoss::kCrossEntropy};

/// Cross-entropy of one row by hand.
double cross_entropy(const std::vector<double>& logits, int64_t label) {
  double sum = 0;
  for (double value : logits) sum += std::exp(value);
  return std::log(sum) - logits[label];
}

double softplus(double x) { return std::log1p(std::exp(x)); }

const Tensor kLogits = torch::tensor({{1.0, -0.5, 2.0}, {0.25, 0.75, -1.0}}, torch::kFloat64);
const Tensor kLabels = torch::tensor({0, 1}, torch::kInt64);

TEST(Losses, PaperFormIsCrossEntropyOverAllClasses) {
  const double real = (cross_entropy({1, -.5, 2}, 0) + cross_entropy({.25, .75, -1}, 1)) / 2;
  const double fake = (cross_entropy({1, -.5, 2}, 2) + cross_entropy({.25, .75, -1}, 2)) / 2;
  EXPECT_NEAR(real_loss(kLogits, kLabels, kPaper).item<double>(), real, 1e-12);
  EXPECT_NEAR(fake_loss(kLogits, kLabels, kPaper).item<double>(), fake, 1e-12);
  EXPECT_NEAR(adversarial_loss(kLogits, kLabels, kPaper).item<double>(), real, 1e-12);
}

TEST(Losses, FactorisedFormTakesFakeAndClassApart) {
  const double classes = (cross_entropy({1, -.5}, 0) + cross_entropy({.25, .75}, 1)) / 2;
  const double says_real = (softplus(2.0) + softplus(-1.0)) / 2;
  const double says_fake = (softplus(-2.0) + softplus(1.0)) / 2;
  EXPECT_NEAR(real_loss(kLogits, kLabels, kFactorised).item<double>(), classes + says_real, 1e-12);
  EXPECT_NEAR(fake_loss(kLogits, kLabels, kFactorised).item<double>(), classes + says_fake, 1e-12);
  EXPECT_NEAR(adversarial_loss(kLogits, kLabels, kFactorised).item<double>(), classes + says_real,
              1e-12);
}

TEST(Losses, HingeAndLeastSquaresScoreTheFakeLogit) {
  const double classes = (cross_entropy({1, -.5}, 0) + cross_entropy({.25, .75}, 1)) / 2;
  const AdversarialForm hinge{FakeHead::kSoftmax, AdversarialLoss::kHinge};
  EXPECT_NEAR(real_loss(kLogits, kLabels, hinge).item<double>(), classes + (3.0 + 0.0) / 2, 1e-12);
  EXPECT_NEAR(fake_loss(kLogits, kLabels, hinge).item<double>(), (0.0 + 2.0) / 2, 1e-12);
  EXPECT_NEAR(adversarial_loss(kLogits, kLabels, hinge).item<double>(), classes + (2.0 - 1.0) / 2,
              1e-12);
  const AdversarialForm squares{FakeHead::kFactorised, AdversarialLoss::kLeastSquares};
  EXPECT_NEAR(real_loss(kLogits, kLabels, squares).item<double>(), classes + (9.0 + 0.0) / 2,
              1e-12);
  EXPECT_NEAR(fake_loss(kLogits, kLabels, squares).item<double>(), classes + (1.0 + 4.0) / 2,
              1e-12);
}

TEST(Losses, SeparateCriticScoresTheLogitOfTheClassInQuestion) {
  const Tensor real = torch::tensor({{0.5, 9.0}, {9.0, -2.0}}, torch::kFloat64);
  const Tensor fake = torch::tensor({{7.0, 0.25}}, torch::kFloat64);
  const Tensor labels = torch::tensor({0, 1}, torch::kInt64);
  const Tensor target = torch::tensor({1}, torch::kInt64);
  const auto loss = [&](AdversarialLoss form) {
    return (critic_real_loss(real, labels, form) + critic_fake_loss(fake, target, form))
        .item<double>();
  };
  // Real ones should be -1, or below it for the hinge; generated ones +1, or above it.
  EXPECT_NEAR(loss(AdversarialLoss::kLeastSquares), (2.25 + 1.0) / 2 + 0.5625, 1e-12);
  EXPECT_NEAR(loss(AdversarialLoss::kHinge), (1.5 + 0.0) / 2 + 0.75, 1e-12);
  EXPECT_NEAR(loss(AdversarialLoss::kCrossEntropy),
              (softplus(0.5) + softplus(-2.0)) / 2 + softplus(-0.25), 1e-12);
  const auto generator = [&](AdversarialLoss form) {
    return critic_adversarial_loss(fake, target, form).item<double>();
  };
  EXPECT_NEAR(generator(AdversarialLoss::kLeastSquares), 1.25 * 1.25, 1e-12);
  EXPECT_NEAR(generator(AdversarialLoss::kHinge), 0.25, 1e-12);
  EXPECT_NEAR(generator(AdversarialLoss::kCrossEntropy), softplus(0.25), 1e-12);
}

TEST(Losses, MeanAbsoluteErrorAndVariationByHand) {
  const Tensor x = torch::zeros({1, 3, 2, 2}, torch::kFloat64);
  Tensor y = x.clone();
  y.index_put_({0, 1, 0, 0}, 0.6);  // one of 12 values; one of 6 neighbour pairs each way
  EXPECT_NEAR(mean_absolute_error(x, y).item<double>(), 0.05, 1e-12);
  EXPECT_NEAR(change_size(x, y).item<double>(), 0.05, 1e-12);
  EXPECT_NEAR(change_variation(x, y).item<double>(), 0.1 + 0.1, 1e-12);
}

TEST(Losses, SegmentationLossByHandAndWithoutUnknownPixels) {
  const double nan = std::nan("");
  const Tensor logits = torch::tensor({2.0, -1.0, 5.0}, torch::kFloat64).view({1, 1, 1, 3});
  const Tensor masks = torch::tensor({1.0, 0.0, nan}, torch::kFloat64).view({1, 1, 1, 3});
  const double p0 = 1 / (1 + std::exp(-2.0)), p1 = 1 / (1 + std::exp(1.0));
  const double entropy = (softplus(-2.0) + softplus(-1.0)) / 2;
  const double dice = (2 * p0 + 1) / (p0 + p1 + 1 + 1);
  EXPECT_NEAR(segmentation_loss(logits, masks).item<double>(), entropy + 1 - dice, 1e-12);
}

/// A fresh leaf for the gradient check.
Tensor leaf(const Tensor& values) { return values.clone().requires_grad_(true); }

TEST(Losses, EveryAdversarialGradientAgreesWithDifferences) {
  for (const auto head : {FakeHead::kSoftmax, FakeHead::kFactorised})
    for (const auto loss :
         {AdversarialLoss::kCrossEntropy, AdversarialLoss::kHinge, AdversarialLoss::kLeastSquares})
      for (const auto function : {real_loss, fake_loss, adversarial_loss})
        expect_gradients(
            [&](const std::vector<Tensor>& in) {
              return function(in[0], kLabels, AdversarialForm{head, loss});
            },
            {leaf(kLogits + 0.1)});  // away from the hinge's kink at -1
}

/// What nine in ten pixels of one image change alike, [1,C,1,1], from the sorted changes.
Tensor common_change_by_sorting(const Tensor& x, const Tensor& x_cf) {
  const int64_t pixels = x.size(2) * x.size(3), few = std::max<int64_t>(1, (pixels + 5) / 10);
  Tensor common = torch::zeros({1, x.size(1), 1, 1}, torch::kFloat64);
  for (int64_t k = 0; k < x.size(1); ++k) {
    std::vector<double> changes;
    for (int64_t r = 0; r < x.size(2); ++r)
      for (int64_t c = 0; c < x.size(3); ++c)
        changes.push_back(x_cf[0][k][r][c].item<double>() - x[0][k][r][c].item<double>());
    std::sort(changes.begin(), changes.end());
    if (changes[few - 1] > 0) common[0][k] = changes[few - 1];
    if (changes[pixels - few] < 0) common[0][k] = changes[pixels - few];
  }
  return common;
}

/// `within_mask` of one image, pixel by pixel, with common change and level as they were at `at`.
Tensor within_mask_by_pixel(const Tensor& x, const Tensor& x_cf, const Tensor& at) {
  const Tensor common = common_change_by_sorting(x, at), own = at - x - common;
  double sum = 0, squares = 0;
  for (int64_t r = 0; r < x.size(2); ++r)
    for (int64_t c = 0; c < x.size(3); ++c) {
      double s = 0;
      for (int64_t k = 0; k < 3; ++k) s += std::abs(own[0][k][r][c].item<double>()) / 3;
      sum += s;
      squares += s * s;
    }
  const double tau = std::max(0.5 * squares / std::max(sum, 1 / 255.0), 1 / 255.0);
  const Tensor change = x_cf - x - common, s = change.abs().mean(1, true);
  return x + change / (1 + torch::exp(4 - 4 * s / tau));
}

TEST(Losses, WhatLiesInTheMaskIsTheChangeWhereItIsStrong) {
  torch::manual_seed(2);
  const Tensor x = torch::rand({1, 3, 4, 5}, torch::kFloat64);
  for (const auto& [size, cast] : std::initializer_list<std::pair<double, double>>{
           {0.0, 0.0}, {0.002, 0.0}, {0.5, 0.0}, {0.5, 0.4}, {0.1, -0.4}}) {
    const Tensor y = x + size * (torch::rand_like(x) - 0.3) + cast;
    const Tensor weight = torch::randn_like(x);
    EXPECT_TRUE(torch::allclose(within_mask(x, y), within_mask_by_pixel(x, y, y), 0, 1e-12));
    // Common change and level have no gradient: the differences are of a function that holds them.
    const auto fixed = [&](const auto& in) {
      return (weight * within_mask_by_pixel(x, in[0], y)).sum();
    };
    // With a cast one pixel of each channel lies on the kink of |d|, where differences mislead.
    if (size > 0 && cast == 0) expect_gradients(fixed, {leaf(y)});
    const Tensor ours = leaf(y), theirs = leaf(y);
    (weight * within_mask(x, ours)).sum().backward();
    fixed(std::vector<Tensor>{theirs}).backward();
    EXPECT_TRUE(torch::allclose(ours.grad(), theirs.grad(), 1e-9, 1e-12))
        << size << " and " << cast;
  }
}

TEST(Losses, AFaintChangeBesideAStrongOneIsNotInTheMask) {
  const Tensor x = torch::full({1, 3, 1, 4}, 0.5, torch::kFloat64);
  const Tensor change = torch::tensor({0.4, 0.4, 0.02, 0.0}, torch::kFloat64);
  const Tensor seen = (within_mask(x, x + change) - x)[0][0][0];
  EXPECT_NEAR(seen[0].item<double>(), 0.4, 0.02);
  EXPECT_NEAR(seen[2].item<double>(), 0.0, 0.001);
  EXPECT_EQ(seen[3].item<double>(), 0.0);
}

TEST(Losses, WhatNineInTenPixelsChangeAlike) {
  torch::manual_seed(4);
  for (const auto& [rows, columns] : std::initializer_list<std::pair<int64_t, int64_t>>{
           {1, 1}, {1, 4}, {4, 5}, {13, 17}, {32, 32}})
    for (const double shift : {-0.9, -0.7, -0.5, -0.3, -0.1, 0.0}) {
      const Tensor x = torch::zeros({1, 3, rows, columns}, torch::kFloat64);
      const Tensor y = torch::rand_like(x) + shift;
      const Tensor expected = common_change_by_sorting(x, y);
      EXPECT_TRUE(torch::equal(common_change(y), expected)) << rows << ", " << shift;
      const Tensor single = y.to(torch::kFloat32).contiguous(kChannelsLast);
      EXPECT_TRUE(torch::equal(common_change(single), expected.to(torch::kFloat32)));
    }
}

TEST(Losses, ACastOverTheWholeImageIsNotInTheMask) {
  const Tensor x = torch::full({1, 3, 4, 5}, 0.5, torch::kFloat64);
  const Tensor cast = torch::tensor({-0.1, 0.0, 0.2}, torch::kFloat64).view({1, 3, 1, 1});
  EXPECT_TRUE(torch::allclose(within_mask(x, x + cast), x, 0, 1e-12));
  // One pixel in twenty changes besides: it is seen as without the cast, and alone.
  const Tensor crack = torch::zeros_like(x);
  crack.select(2, 1).select(2, 2).fill_(-0.3);
  EXPECT_TRUE(
      torch::allclose(within_mask(x, x + cast + crack), within_mask(x, x + crack), 0, 1e-12));
  EXPECT_NEAR((within_mask(x, x + crack) - x)[0][0][1][2].item<double>(), -0.3, 0.01);
  // A defect that fills four fifths of its image is no cast.
  Tensor large = torch::zeros_like(x);
  large.slice(2, 0, 4).slice(3, 0, 4).fill_(0.3);
  EXPECT_NEAR((within_mask(x, x + large) - x)[0][0][1][2].item<double>(), 0.3, 0.01);
}

TEST(Losses, EveryPixelGradientAgreesWithDifferences) {
  torch::manual_seed(1);
  const Tensor x = torch::rand({2, 3, 4, 4}, torch::kFloat64);
  const Tensor y = torch::rand({2, 3, 4, 4}, torch::kFloat64);
  expect_gradients([&](const auto& in) { return mean_absolute_error(in[0], x); }, {leaf(y)});
  expect_gradients([&](const auto& in) { return change_size(x, in[0]).sum(); }, {leaf(y)});
  expect_gradients([&](const auto& in) { return change_variation(x, in[0]).sum(); }, {leaf(y)});
  const Tensor masks = (torch::rand({2, 1, 4, 4}, torch::kFloat64) > 0.5).to(torch::kFloat64);
  expect_gradients([&](const auto& in) { return segmentation_loss(in[0], masks); },
                   {leaf(torch::randn({2, 1, 4, 4}, torch::kFloat64))});
  expect_gradients([&](const auto& in) { return class_loss(in[0], kLabels); }, {leaf(kLogits)});
}

}  // namespace
}  // namespace flipside::losses_test
