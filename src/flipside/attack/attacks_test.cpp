// Every attack where the optimum is known: a linear classifier, whose nearest boundary is
// |f|/||w||_1 (L-inf) or |f|/||w||_2 (L2) away.

#include <gtest/gtest.h>

#include <cmath>

#include "flipside/attack/apgd.h"
#include "flipside/attack/fab.h"
#include "flipside/attack/pgd.h"
#include "flipside/attack/square.h"
#include "support/simple_victims.h"

namespace flipside::attacks_test {
namespace {

/// Images in the middle of the range, so that [0,1] does not bind, of a linear victim.
struct LinearCase {
  explicit LinearCase(Norm norm_kind) : norm(norm_kind) {
    torch::manual_seed(6);
    weights = torch::randn({3, 6, 6});
    images = 0.4 + 0.2 * torch::rand({8, 3, 6, 6});
    const Tensor raw = images.flatten(1).matmul(weights.flatten());
    bias = -raw.mean().item<double>();
    score = raw + bias;
    labels = (score > 0).to(torch::kInt64);
    victim = linear_victim(weights, bias);
    dual = norm == Norm::kLinf ? weights.abs().sum().item<double>() : weights.norm().item<double>();
  }
  Goal goal() const { return {labels, {}}; }
  /// How far the attacker has moved the score to its side, per image.
  Tensor gain(const Tensor& attacked) const {
    const Tensor moved = (attacked - images).flatten(1).matmul(weights.flatten());
    return torch::where(labels == 1, -moved, moved);
  }
  Norm norm;
  Tensor weights, images, score, labels;
  Victim victim;
  double bias = 0, dual = 0;
};

class LinearAttack : public testing::TestWithParam<Norm> {};

TEST(Divergence, ByHand) {
  const Tensor p = torch::log(torch::tensor({0.75, 0.25}, torch::kDouble)).unsqueeze(0);
  const Tensor q = torch::log(torch::tensor({0.5, 0.5}, torch::kDouble)).unsqueeze(0) + 3;
  const double expected = 0.75 * std::log(0.75 / 0.5) + 0.25 * std::log(0.25 / 0.5);
  EXPECT_NEAR(divergence(p, q).item<double>(), expected, 1e-12);
  EXPECT_NEAR(divergence(q, q - 7).item<double>(), 0, 1e-12);
}

TEST_P(LinearAttack, DivergenceMovesTheScoreAsFarAsTheBoundAllows) {
  const LinearCase linear(GetParam());
  const ThreatModel threat{linear.norm, 0.02};
  auto streams = test_streams(8);
  const Tensor gaussian =
      gaussian_noise(linear.images.sizes(), streams).to(linear.images.options());
  const Tensor attacked = divergence_attack(linear.victim, threat, linear.images, gaussian, 5);
  EXPECT_TRUE(threat.allows(attacked, linear.images).all().item<bool>());
  const Tensor moved = linear.gain(attacked).abs() / (0.02 * linear.dual);
  EXPECT_TRUE(torch::allclose(moved, torch::ones_like(moved), 0, 2e-2)) << moved;
}

TEST_P(LinearAttack, PgdAndFgsmGainEpsTimesTheDualNorm) {
  const LinearCase linear(GetParam());
  // Too small a bound to win, so that the whole budget is used.
  const double eps = 0.5 * linear.score.abs().min().item<double>() / linear.dual;
  const ThreatModel threat{linear.norm, eps};
  for (const AttackLoss loss : {AttackLoss::kCrossEntropy, AttackLoss::kMargin}) {
    auto streams = test_streams(8);
    PgdOptions options;
    options.loss = loss;
    // The usual steps, 2.5 eps in all, leave an L2 start's sideways part at 2 % of the gain.
    options.step_size = eps;
    const Tensor attacked =
        pgd(linear.victim, threat, linear.images, linear.goal(), streams, options);
    const Tensor gain = linear.gain(attacked) / (eps * linear.dual);
    EXPECT_TRUE(torch::allclose(gain, torch::ones_like(gain), 0, 2e-3)) << gain;
    EXPECT_TRUE(threat.allows(attacked, linear.images).all().item<bool>());
    const Tensor once =
        linear.gain(fgsm(linear.victim, threat, linear.images, linear.goal(), loss));
    EXPECT_TRUE(torch::allclose(once / (eps * linear.dual), torch::ones_like(gain), 0, 1e-3));
  }
}

TEST_P(LinearAttack, ApgdGainsEpsTimesTheDualNorm) {
  const LinearCase linear(GetParam());
  const double eps = 0.5 * linear.score.abs().min().item<double>() / linear.dual;
  const ThreatModel threat{linear.norm, eps};
  for (const AttackLoss loss : {AttackLoss::kCrossEntropy, AttackLoss::kMargin}) {
    auto streams = test_streams(8);
    const Tensor attacked =
        apgd(linear.victim, threat, linear.images, linear.goal(), streams, {50, 1, loss});
    const Tensor gain = linear.gain(attacked) / (eps * linear.dual);
    EXPECT_TRUE(torch::allclose(gain, torch::ones_like(gain), 0, 2e-3)) << gain;
    EXPECT_TRUE(threat.allows(attacked, linear.images).all().item<bool>());
  }
}

TEST_P(LinearAttack, BreaksJustAboveTheDistanceOfTheBoundaryAndNotBelow) {
  const LinearCase linear(GetParam());
  for (int64_t i = 0; i < 8; ++i) {
    const double distance = std::abs(linear.score[i].item<double>()) / linear.dual;
    const Tensor image = linear.images.slice(0, i, i + 1);
    const Goal goal{linear.labels.slice(0, i, i + 1), {}};
    for (const double share : {0.97, 1.03}) {
      const ThreatModel threat{linear.norm, share * distance};
      const bool expected = share > 1;
      const auto won = [&](const Tensor& attacked) {
        return linear.victim.answers(attacked).item<int64_t>() != goal.labels.item<int64_t>();
      };
      auto streams = test_streams(1);
      EXPECT_EQ(won(pgd(linear.victim, threat, image, goal, streams)), expected);
      EXPECT_EQ(won(apgd(linear.victim, threat, image, goal, streams)), expected);
      EXPECT_EQ(won(fab(linear.victim, threat, image, goal, streams)), expected);
    }
  }
}

TEST_P(LinearAttack, FabFindsTheNearestPoint) {
  const LinearCase linear(GetParam());
  auto streams = test_streams(8);
  const Tensor found = nearest_adversarial(linear.victim, linear.norm, linear.images, linear.goal(),
                                           streams, /*reach=*/0.1);
  const Tensor distance = change_size(linear.norm, found, linear.images);
  const Tensor ratio = distance / (linear.score.abs() / linear.dual);
  EXPECT_TRUE((linear.victim.answers(found) != linear.labels).all().item<bool>());
  EXPECT_GE(ratio.min().item<double>(), 1.0 - 1e-3);
  EXPECT_LE(ratio.max().item<double>(), 1.01);
}

TEST_P(LinearAttack, SquareWinsWithoutGradients) {
  const LinearCase linear(GetParam());
  // It needs a larger bound than the optimum: squares are coarse.
  const double eps = 3 * linear.score.abs().max().item<double>() / linear.dual;
  const ThreatModel threat{linear.norm, eps};
  auto streams = test_streams(8);
  const Tensor attacked =
      square(linear.victim, threat, linear.images, linear.goal(), streams, {2000});
  EXPECT_TRUE((linear.victim.answers(attacked) != linear.labels).all().item<bool>());
  EXPECT_TRUE(threat.allows(attacked, linear.images).all().item<bool>());
}

TEST_P(LinearAttack, AttacksStayInTheRangeAtItsEdge) {
  const Norm norm = GetParam();
  torch::manual_seed(2);
  const Tensor images = torch::randint(0, 2, {4, 3, 6, 6}).to(torch::kFloat32);  // black or white
  const Victim victim = curved_victim(108, 4, 1, 0.3);
  const Goal goal{victim.answers(images), {}};
  const ThreatModel threat{norm, norm == Norm::kLinf ? 0.1 : 1.0};
  std::vector<Tensor> attacked;
  auto streams = test_streams(4);
  for (const AttackLoss loss : {AttackLoss::kCrossEntropy, AttackLoss::kMargin, AttackLoss::kDlr}) {
    PgdOptions options;
    options.loss = loss;
    attacked.push_back(pgd(victim, threat, images, goal, streams, options));
    attacked.push_back(apgd(victim, threat, images, goal, streams, {20, 2, loss}));
    attacked.push_back(fgsm(victim, threat, images, goal, loss));
  }
  attacked.push_back(fab(victim, threat, images, goal, streams, {20, 2}));
  attacked.push_back(square(victim, threat, images, goal, streams, {100}));
  for (const auto& one : attacked) EXPECT_TRUE(threat.allows(one, images).all().item<bool>());
}

TEST_P(LinearAttack, ApgdIsNotWeakerThanPgdOnCurvedBoundaries) {
  torch::manual_seed(8);
  const Tensor images = torch::rand({300, 3, 4, 4});
  const Victim victim = curved_victim(48, 4, 2, 1.0);
  const Goal goal{victim.answers(images), {}};
  const ThreatModel threat{GetParam(), GetParam() == Norm::kLinf ? 0.03 : 0.12};
  auto streams = test_streams(300);
  const auto left = [&](const Tensor& attacked) {
    return (victim.answers(attacked) == goal.labels).sum().item<int64_t>();
  };
  PgdOptions options;
  options.steps = 50;
  const int64_t by_pgd = left(pgd(victim, threat, images, goal, streams, options));
  const int64_t by_apgd =
      left(apgd(victim, threat, images, goal, streams, {50, 1, AttackLoss::kMargin}));
  EXPECT_LT(by_pgd, 280);
  EXPECT_GT(by_pgd, 20);
  EXPECT_LE(by_apgd, by_pgd + 3);  // both from random starts
}

TEST_P(LinearAttack, TargetedAttacksReachTheirTarget) {
  torch::manual_seed(8);
  const Tensor images = torch::rand({20, 3, 4, 4});
  const Victim victim = curved_victim(48, 4, 2, 1.0);
  const Tensor labels = victim.answers(images);
  const Goal goal{labels, (labels + 1).remainder(4)};
  const ThreatModel threat{GetParam(), GetParam() == Norm::kLinf ? 0.5 : 4.0};
  const auto reached = [&](const Tensor& attacked) {
    return (victim.answers(attacked) == goal.targets).to(torch::kDouble).mean().item<double>();
  };
  auto streams = test_streams(20);
  EXPECT_GE(reached(pgd(victim, threat, images, goal, streams)), 0.8);
  for (const AttackLoss loss : {AttackLoss::kCrossEntropy, AttackLoss::kMargin, AttackLoss::kDlr})
    EXPECT_GE(reached(apgd(victim, threat, images, goal, streams, {60, 2, loss})), 0.8);
  EXPECT_GE(reached(fab(victim, threat, images, goal, streams, {60, 2})), 0.8);
  EXPECT_GE(reached(square(victim, threat, images, goal, streams, {1000})), 0.7);
}

INSTANTIATE_TEST_SUITE_P(Norms, LinearAttack, testing::Values(Norm::kLinf, Norm::kL2),
                         [](const auto& info) { return std::string(to_string(info.param)); });

TEST(Apgd, ReconsidersItsStepAtThePapersCheckpoints) {
  EXPECT_EQ(apgd_checkpoints(100), (std::vector<int64_t>{22, 41, 57, 70, 80, 87, 93, 99}));
  EXPECT_TRUE(apgd_checkpoints(1).empty());
}

TEST(Square, SidesShrinkAsInThePaper) {
  const SquareOptions options{10000, 0.8};
  EXPECT_EQ(square_side(0, options, 100, 100), 89);    // sqrt(.8) 100
  EXPECT_EQ(square_side(11, options, 100, 100), 63);   // halved once
  EXPECT_EQ(square_side(9999, options, 100, 100), 4);  // 9 times
  EXPECT_EQ(square_side(9999, options, 4, 4), 1);
}

TEST(Pgd, WithoutStoppingGoesOnToTheFullBound) {
  const LinearCase linear(Norm::kLinf);
  const double eps = 0.05;
  PgdOptions options;
  options.stop_when_won = false;
  auto streams = test_streams(8);
  const Tensor attacked =
      pgd(linear.victim, {Norm::kLinf, eps}, linear.images, linear.goal(), streams, options);
  const Tensor sign = torch::where(linear.labels == 1, -1.0, 1.0).view({-1, 1, 1, 1});
  const Tensor best = (linear.images + eps * sign * linear.weights.sign()).clamp(0, 1);
  EXPECT_TRUE(torch::allclose(attacked, best.to(torch::kFloat32), 0, 1e-5));
}

/// The plane's nearest point by a slow loop over coordinates: water filling with many tiny steps.
Tensor slow_plane_point(Norm norm, const Tensor& point, const Tensor& weights, double value) {
  Tensor x = point.clone();
  const double step = 1e-4;
  double now = value;
  for (int i = 0; i < 20000 && now * value > 0; ++i) {
    const Tensor direction = norm == Norm::kLinf ? weights.sign() : weights;
    const Tensor moved = (x - (value > 0 ? step : -step) * direction).clamp(0, 1);
    now += ((moved - x) * weights).sum().item<double>();
    x = moved;
  }
  return x;
}

TEST(Fab, ProjectsOnThePlaneWithinTheRange) {
  torch::manual_seed(9);
  for (const Norm norm : {Norm::kLinf, Norm::kL2}) {
    const Tensor points = torch::rand({10, 6}, torch::kDouble);
    const Tensor weights = torch::randn({10, 6}, torch::kDouble);
    const Tensor values = 0.7 * torch::randn({10}, torch::kDouble);
    const Tensor projected = project_on_plane(norm, points, weights, values);
    for (int64_t i = 0; i < 10; ++i) {
      const Tensor slow = slow_plane_point(norm, points[i], weights[i], values[i].item<double>());
      EXPECT_TRUE(torch::allclose(projected[i], slow, 0, 2e-3)) << projected[i] << slow;
    }
  }
}

}  // namespace
}  // namespace flipside::attacks_test
