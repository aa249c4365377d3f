#include "flipside/explain/attribution/cam.h"

#include <gtest/gtest.h>

#include <cmath>

#include "flipside/core/device.h"
#include "support/small_model.h"
#include "support/temp_folder.h"

namespace flipside::cam_test {
namespace {

struct Level {
  Tensor activations, gradients;
};

Level random_level() {
  torch::manual_seed(6);
  return {torch::randn({2, 3, 4, 5}), torch::randn({2, 3, 4, 5})};
}

/// Runs `value(n, c, y, x)` over the level's positions and sums over the channels.
template <typename Value>
Tensor sum_over_channels(const Level& level, const Value& value) {
  const Tensor& a = level.activations;
  Tensor map = torch::zeros({a.size(0), 1, a.size(2), a.size(3)});
  for (int64_t n = 0; n < a.size(0); ++n)
    for (int64_t c = 0; c < a.size(1); ++c)
      for (int64_t y = 0; y < a.size(2); ++y)
        for (int64_t x = 0; x < a.size(3); ++x) map[n][0][y][x] += value(n, c, y, x);
  return map;
}

double at(const Tensor& t, int64_t n, int64_t c, int64_t y, int64_t x) {
  return t[n][c][y][x].item<double>();
}

TEST(GradCam, AgreesWithASlowLoop) {
  const Level level = random_level();
  const auto weight = [&](int64_t n, int64_t c) {
    double sum = 0;
    for (int64_t y = 0; y < 4; ++y)
      for (int64_t x = 0; x < 5; ++x) sum += at(level.gradients, n, c, y, x);
    return sum / 20;
  };
  const Tensor expected = sum_over_channels(level, [&](auto n, auto c, auto y, auto x) {
    return weight(n, c) * at(level.activations, n, c, y, x);
  });
  EXPECT_TRUE(torch::allclose(grad_cam(level.activations, level.gradients), expected, 1e-4, 1e-5));
}

TEST(GradCamPlusPlus, AgreesWithThePapersFormula) {
  Level level = random_level();
  level.activations = level.activations.relu();
  const auto weight = [&](int64_t n, int64_t c) {
    double sum_a = 0, sum = 0;
    for (int64_t y = 0; y < 4; ++y)
      for (int64_t x = 0; x < 5; ++x) sum_a += at(level.activations, n, c, y, x);
    for (int64_t y = 0; y < 4; ++y)
      for (int64_t x = 0; x < 5; ++x) {
        const double g = at(level.gradients, n, c, y, x);
        const double alpha = g * g / (2 * g * g + sum_a * g * g * g);
        if (g > 0) sum += alpha * g;
      }
    return sum;
  };
  const Tensor expected = sum_over_channels(level, [&](auto n, auto c, auto y, auto x) {
    return weight(n, c) * at(level.activations, n, c, y, x);
  });
  EXPECT_TRUE(
      torch::allclose(grad_cam_pp(level.activations, level.gradients), expected, 1e-4, 1e-5));
}

TEST(LayerCam, AgreesWithASlowLoop) {
  const Level level = random_level();
  const Tensor expected = sum_over_channels(level, [&](auto n, auto c, auto y, auto x) {
    return std::max(0.0, at(level.gradients, n, c, y, x)) * at(level.activations, n, c, y, x);
  });
  EXPECT_TRUE(torch::allclose(layer_cam(level.activations, level.gradients), expected, 1e-4, 1e-5));
}

TEST(LevelGradient, IsTheChangeOfTheLogitPerChangeOfTheActivation) {
  // At the last level the logit is known by hand: linear in the average and maximum of each
  // channel.
  Model model = small_model({"bad", "good"}, 1, ModelKind::kClassifier);
  torch::manual_seed(8);
  const Tensor images = torch::rand({2, 3, 16, 16});
  const Tensor classes = torch::tensor(std::vector<int64_t>{1, 0});
  const LevelGradient last = level_gradient(model.discriminator, images, classes, -1);
  const Tensor a = last.activations;
  ASSERT_EQ(a.sizes(), (std::vector<int64_t>{2, 16, 8, 8}));
  Tensor head;
  for (const auto& item : model.discriminator->named_parameters())
    if (item.key() == "head.weight") head = item.value().detach();
  for (int64_t n = 0; n < 2; ++n) {
    const Tensor weights = head[1 - n];
    for (int64_t c = 0; c < 16; ++c) {
      Tensor expected = torch::full({8, 8}, weights[c].item<double>() / 64);
      const int64_t top = a[n][c].argmax().item<int64_t>();
      expected[top / 8][top % 8] += weights[16 + c];
      EXPECT_TRUE(torch::allclose(last.gradients[n][c], expected, 1e-4, 1e-6)) << n << " " << c;
    }
  }
  // The other levels have the sizes of the network; -1 and the last index are one.
  EXPECT_EQ(level_gradient(model.discriminator, images, classes, 0).gradients.sizes(),
            (std::vector<int64_t>{2, 8, 16, 16}));
  EXPECT_EQ(model.discriminator->num_levels(), 3);
  EXPECT_TRUE(torch::equal(level_gradient(model.discriminator, images, classes, 2).gradients,
                           last.gradients));
  EXPECT_NE(message_of(ErrorCode::kArgument,
                       [&] { level_gradient(model.discriminator, images, classes, 3); }),
            "");
}

TEST(LevelGradient, WorksWithFrozenWeights) {
  Model model = small_model({"bad", "good"}, 1);
  const Tensor images = torch::rand({1, 3, 16, 16});
  const Tensor classes = torch::zeros({1}, torch::kInt64);
  const auto gradients = [&] {
    return level_gradient(model.discriminator, images, classes, 1).gradients;
  };
  const auto with_plain_operators = [&] {
    const PlainOperators plain;
    return gradients();
  };
  const Tensor before = with_plain_operators();
  for (auto& parameter : model.discriminator->parameters()) parameter.requires_grad_(false);
  const torch::NoGradGuard no_grad;
  EXPECT_TRUE(torch::allclose(with_plain_operators(), before));
  // Frozen weights are convolved in another way, which rounds otherwise.
  EXPECT_LT((gradients() - before).abs().max().item<double>(),
            1e-4 * before.abs().max().item<double>());
}

}  // namespace
}  // namespace flipside::cam_test
