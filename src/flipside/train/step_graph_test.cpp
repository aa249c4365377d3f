// The path that a GPU takes, run on the CPU; and on a GPU where there is one.
#include <ATen/record_function.h>
#include <gtest/gtest.h>

#include <set>

#include "flipside/core/device.h"
#include "flipside/core/error.h"
#include "flipside/train/step_graph.h"
#include "flipside/train/trainer.h"
#include "support/attacked_training.h"

namespace flipside::step_graph_test {
namespace {

constexpr int kSteps = 10;

Config config_of(ModelKind kind, DeviceChoice device = DeviceChoice::kCpu) {
  Config config;
  config.model.kind = kind;
  config.data.size = 32;
  config.model.generator_widths = {8, 16, 24};
  config.model.discriminator_widths = {8, 16, 24};
  config.model.residual_blocks = 1;
  config.loss.cycles = 1;
  config.loss.lambda_tv = 0.1;
  config.loss.lambda_cls_cf = 0.1;
  config.train.steps = kSteps;
  config.train.discriminator_warmup = 5;  // more than the runs before a phase is recorded
  config.train.batch = 6;
  config.train.weight_decay = 0.01;
  config.train.device = device;
  return config;
}

Batch noise_batch(int64_t step) {
  Rng rng({7, static_cast<uint64_t>(step)});
  Batch batch;
  batch.images = torch::empty({6, 3, 32, 32});
  float* values = batch.images.data_ptr<float>();
  for (int64_t i = 0; i < batch.images.numel(); ++i) values[i] = static_cast<float>(rng.uniform());
  batch.images = batch.images.contiguous(kChannelsLast);
  batch.labels = torch::arange(6, torch::kInt64).remainder(2);
  batch.masks = (batch.images.slice(1, 0, 1) > 0.8).to(torch::kFloat32);
  return batch;
}

/// The losses of some steps, one after the other.
std::vector<double> losses_of(const Config& config, int steps) {
  auto trainer = make_trainer(make_model(config, {"crack", "intact"}, 1));
  std::vector<double> all;
  for (int64_t i = 0; i < steps; ++i)
    for (const auto& [name, value] : trainer->step(noise_batch(i))) all.push_back(value);
  return all;
}

void expect_near(const std::vector<double>& actual, const std::vector<double>& expected,
                 double tolerance) {
  ASSERT_EQ(actual.size(), expected.size());
  for (size_t i = 0; i < actual.size(); ++i)
    EXPECT_NEAR(actual[i], expected[i], tolerance * (0.01 + std::abs(expected[i]))) << i;
}

class EveryKind : public ::testing::TestWithParam<ModelKind> {};

TEST_P(EveryKind, PlainOperatorsTakeTheStepsOfTheFusedNodes) {
  const Config config = config_of(GetParam());
  const auto fused = losses_of(config, kSteps);
  const PlainOperators plain;
  // Rounding differs, and Adam's first steps turn it into whole steps where gradients are near 0.
  expect_near(losses_of(config, kSteps), fused, 2e-3);
}

/// Operators that wait for the device, or give the host what it needs for going on.
int64_t count_of_questions(const std::function<void()>& work) {
  static std::atomic<int64_t> questions;
  questions = 0;
  const auto handle = at::addThreadLocalCallback(
      at::RecordFunctionCallback([](const at::RecordFunction& function)
                                     -> std::unique_ptr<at::ObserverContext> {
        static const std::set<std::string> kAsking{
            "aten::item",    "aten::_local_scalar_dense", "aten::nonzero", "aten::is_nonzero",
            "aten::equal",   "aten::masked_select",       "aten::unique",  "aten::bincount",
            "aten::_unique2"};
        questions += static_cast<int64_t>(kAsking.count(function.name()));
        return nullptr;
      }).scopes({at::RecordScope::FUNCTION, at::RecordScope::BACKWARD_FUNCTION}));
  work();
  at::removeCallback(handle);
  return questions;
}

/// A trainer whose step can be taken in its two parts.
template <typename Kind>
class Parted : public Kind {
 public:
  using Kind::Kind;
  using Kind::prepare;
  using Kind::train_on;
};

/// Without attacks, and with each kind of them (a segmenter has none).
std::vector<Config> configs_of(ModelKind kind) {
  std::vector<Config> configs{config_of(kind)};
  if (kind == ModelKind::kSegmenter) return configs;
  for (const RobustLoss loss : {RobustLoss::kAdversarial, RobustLoss::kTrades}) {
    Config config = config_of(kind);
    config.loss.robust_fraction = 0.5;
    config.loss.robust_loss = loss;
    config.loss.robust_cf_fraction = kind == ModelKind::kCounterfactual ? 0.5 : 0.0;
    if (kind == ModelKind::kCounterfactual) config.model.fake_head = FakeHead::kFactorised;
    configs.push_back(config);
  }
  return configs;
}

TEST_P(EveryKind, TheStepAsksTheDeviceForNothing) {
  // What a CUDA graph repeats must not depend on values that the host has seen.
  const auto questions = [](auto trainer) {
    const PlainOperators plain;
    const StepInput input = trainer.prepare(noise_batch(0));
    LossTensors losses;
    EXPECT_EQ(count_of_questions([&] { losses = trainer.train_on(input); }), 0);
    EXPECT_EQ(count_of_questions([&] { losses[0].second.template item<double>(); }), 2);
  };
  for (Config config : configs_of(GetParam()))
    for (const int64_t warmup : {5, 0}) {
      config.train.discriminator_warmup = warmup;
      Model model = make_model(config, {"crack", "intact"}, 1);
      if (GetParam() == ModelKind::kCounterfactual)
        questions(Parted<CounterfactualTrainer>(std::move(model)));
      else
        questions(Parted<SupervisedTrainer>(std::move(model)));
    }
}

TEST_P(EveryKind, ALaterInputInTheSameMemoryGivesItsOwnLosses) {
  // As a graph does it: the work is the same, the input's memory takes the next values.
  const auto check = [](auto& plain, auto& reused) {
    StepInput memory = reused.prepare(noise_batch(0)).to(at::kCPU);
    for (Tensor* tensor : {&memory.batch.images, &memory.batch.labels, &memory.batch.masks,
                           &memory.noise, &memory.cf_noise, &memory.bound})
      if (tensor->defined()) *tensor = tensor->clone();
    const auto first = reused.train_on(memory);
    EXPECT_TRUE(
        torch::equal(first[0].second, plain.train_on(plain.prepare(noise_batch(0)))[0].second));
    memory.copy_(reused.prepare(noise_batch(1)));
    const auto second = reused.train_on(memory);
    EXPECT_TRUE(
        torch::equal(second[0].second, plain.train_on(plain.prepare(noise_batch(1)))[0].second));
    EXPECT_FALSE(torch::equal(first[0].second, second[0].second));
  };
  for (const Config& config : configs_of(GetParam())) {
    if (GetParam() == ModelKind::kCounterfactual) {
      Parted<CounterfactualTrainer> a(make_model(config, {"crack", "intact"}, 1)),
          b(make_model(config, {"crack", "intact"}, 1));
      check(a, b);
    } else {
      Parted<SupervisedTrainer> a(make_model(config, {"crack", "intact"}, 1)),
          b(make_model(config, {"crack", "intact"}, 1));
      check(a, b);
    }
  }
}

/// For more than ten steps, of which a phase is recorded from its fourth on, while an attack's
/// bound grows.
Config growing(Config config) {
  config = to_compare(config);
  config.train.steps = 2 * kSteps;
  if (is_attacked(config)) config.train.robust_ramp = 1;
  return config;
}

constexpr int kComparedSteps = 5 + kSteps;

TEST_P(EveryKind, StepsToCompareDifferByRoundingAloneAndFeelTheBound) {
  for (Config config : configs_of(GetParam())) {
    config = growing(config);
    const auto fused = losses_of(config, kComparedSteps);
    {
      const PlainOperators plain;
      expect_near(losses_of(config, kComparedSteps), fused, 2e-3);
    }
    if (!is_attacked(config)) continue;
    config.train.robust_ramp = 0;  // the bound of another step
    const auto other = losses_of(config, kComparedSteps);
    double apart = 0;
    for (size_t i = 0; i < fused.size(); ++i)
      apart = std::max(apart, std::abs(other[i] / fused[i] - 1));
    EXPECT_GT(apart, 0.03);
  }
}

TEST_P(EveryKind, CpuAndGpuAgreeOnTheLossesOfTenSteps) {
  if (!has_cuda()) GTEST_SKIP() << "no CUDA in this libtorch, or no GPU in this machine";
  for (Config config : configs_of(GetParam())) {
    config = growing(config);
    const auto cpu = losses_of(config, kComparedSteps);
    config.train.device = DeviceChoice::kCuda;
    expect_near(losses_of(config, kComparedSteps), cpu, 1e-2);
  }
}

INSTANTIATE_TEST_SUITE_P(Trainers, EveryKind,
                         ::testing::Values(ModelKind::kCounterfactual, ModelKind::kClassifier,
                                           ModelKind::kSegmenter));

TEST(StepGraph, IsRefusedWithoutCuda) { EXPECT_THROW(StepGraph(at::kCPU), Error); }

}  // namespace
}  // namespace flipside::step_graph_test
