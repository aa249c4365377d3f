#include "flipside/attack/threat_model.h"

#include <gtest/gtest.h>

#include <cmath>

#include "flipside/attack/pgd.h"
#include "support/simple_victims.h"

namespace flipside::threat_model_test {
namespace {

Tensor random_images(int64_t count) {
  torch::manual_seed(4);
  return torch::rand({count, 3, 4, 5});
}

TEST(ThreatModel, ProjectsIntoBallAndRangeAndLeavesTheInsideAlone) {
  const Tensor images = random_images(6);
  for (const Norm norm : {Norm::kLinf, Norm::kL2}) {
    const ThreatModel threat{norm, 0.2};
    const Tensor far = images + torch::randn_like(images);
    const Tensor projected = threat.project(far, images);
    EXPECT_TRUE(threat.allows(projected, images).all().item<bool>());
    EXPECT_FALSE(threat.allows(far, images).any().item<bool>());
    const Tensor inside = (images + 0.001 * torch::randn_like(images)).clamp(0, 1);
    EXPECT_TRUE(torch::allclose(threat.project(inside, images), inside));
  }
}

TEST(ThreatModel, L2ProjectionIsTheNearestPointOfTheBall) {
  const Tensor image = torch::full({1, 1, 1, 2}, 0.5);
  const Tensor far = torch::tensor({0.5f + 0.3f, 0.5f + 0.4f}).view({1, 1, 1, 2});
  const Tensor expected = torch::tensor({0.5f + 0.06f, 0.5f + 0.08f}).view({1, 1, 1, 2});
  EXPECT_TRUE(torch::allclose(ThreatModel{Norm::kL2, 0.1}.project(far, image), expected));
}

TEST(ThreatModel, AMovingBoundTakesThePlaceOfEps) {
  const Tensor images = random_images(6), far = images + torch::randn_like(images);
  const Tensor uniform = torch::rand_like(images);
  for (const Norm norm : {Norm::kLinf, Norm::kL2}) {
    const ThreatModel moving{norm, 0.2, torch::scalar_tensor(0.1, torch::kDouble)}, own{norm, 0.1};
    EXPECT_TRUE(torch::equal(moving.project(far, images), own.project(far, images)));
    EXPECT_TRUE(torch::equal(linf_start(images, moving.bound(), uniform),
                             linf_start(images, own.bound(), uniform)));
    const Victim victim = linear_victim(torch::randn({3, 4, 5}), 0);
    const Goal goal{torch::zeros({6}, torch::kInt64), {}};
    EXPECT_TRUE(torch::equal(pgd_from(images, victim, moving, images, goal, {}),
                             pgd_from(images, victim, own, images, goal, {})));
    EXPECT_TRUE(torch::equal(divergence_attack(victim, moving, images, uniform, 3),
                             divergence_attack(victim, own, images, uniform, 3)));
  }
}

TEST(ThreatModel, AscendsAlongTheSteepestDirection) {
  const Tensor image = torch::full({2, 1, 1, 2}, 0.5);
  const Tensor gradient = torch::tensor({3e-30f, -4e-30f, 0.0f, 0.0f}).view({2, 1, 1, 2});
  const Tensor step = torch::tensor({0.1f, 0.1f});
  const Tensor linf = ThreatModel{Norm::kLinf, 1}.ascend(image, gradient, step) - image;
  const Tensor l2 = ThreatModel{Norm::kL2, 1}.ascend(image, gradient, step) - image;
  const auto row = [](float a, float b) { return torch::tensor({a, b}).view({1, 1, 2}); };
  EXPECT_TRUE(torch::allclose(linf[0], row(0.1f, -0.1f), 0, 1e-6));
  // Tiny gradients have a direction too: their squares must not vanish.
  EXPECT_TRUE(torch::allclose(l2[0], row(0.06f, -0.08f), 0, 1e-6));
  EXPECT_EQ(l2[1].abs().max().item<double>(), 0);
}

TEST(ThreatModel, RandomStartsFillTheBallAndDependOnTheImageAlone) {
  const Tensor images = torch::full({400, 1, 1, 2}, 0.5);
  for (const Norm norm : {Norm::kLinf, Norm::kL2}) {
    const ThreatModel threat{norm, 0.1};
    auto streams = test_streams(400);
    const Tensor starts = threat.random_start(images, streams);
    EXPECT_TRUE(threat.allows(starts, images).all().item<bool>());
    // The share within half of the radius: (1/2)^2 in two dimensions, in either norm.
    const double inner =
        (change_size(norm, starts, images) < 0.05).to(torch::kDouble).mean().item<double>();
    EXPECT_NEAR(inner, 0.25, 0.07);
    auto few = image_streams(3, 0, {7, 9});
    EXPECT_TRUE(torch::equal(threat.random_start(images.slice(0, 0, 2), few)[1], starts[9]));
  }
}

TEST(ThreatModel, FullRangeAllowsEveryImage) {
  const Tensor black = torch::zeros({1, 3, 4, 5}), white = torch::ones({1, 3, 4, 5});
  for (const Norm norm : {Norm::kLinf, Norm::kL2})
    EXPECT_TRUE(ThreatModel({norm, full_range(norm, black)}).allows(white, black).item<bool>());
}

}  // namespace
}  // namespace flipside::threat_model_test
