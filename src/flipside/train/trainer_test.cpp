#include "flipside/train/trainer.h"

#include <gtest/gtest.h>

#include "flipside/core/error.h"
#include "support/live_memory.h"
#include "support/square_batches.h"

namespace flipside::trainer_test {
namespace {

std::unique_ptr<Trainer> make(const Config& config) {
  return make_trainer(make_model(config, {"bad", "good"}, 1));
}

double value_of(const StepLosses& losses, const std::string& name) {
  for (const auto& [key, value] : losses)
    if (key == name) return value;
  return std::nan("");
}

/// What later steps do not change.
TensorMap copied_state(const Trainer& trainer) {
  TensorMap copy;
  for (const auto& [name, tensor] : trainer.state()) copy[name] = tensor.clone();
  return copy;
}

void expect_equal_states(const TensorMap& a, const TensorMap& b) {
  ASSERT_EQ(a.size(), b.size());
  for (const auto& [name, tensor] : a) EXPECT_TRUE(torch::equal(tensor, b.at(name))) << name;
}

TEST(Trainer, WarmUpLeavesTheGeneratorAlone) {
  auto trainer = make(square_config());
  const TensorMap before = copied_state(*trainer);
  for (int i = 0; i < 3; ++i) trainer->step(square_batch(i));
  for (const auto& [name, tensor] : trainer->state()) {
    if (name.rfind("state.generator.weights", 0) == 0) {
      EXPECT_TRUE(torch::equal(tensor, before.at(name))) << name;
    }
  }
  EXPECT_EQ(trainer->steps_done(), 3);
}

TEST(Trainer, StateContinuesBitwise) {
  for (const bool factorised : {false, true}) {
    Config config = square_config();
    config.loss.cycles = 1;
    config.loss.robust_fraction = 0.5;
    if (factorised) config.model.fake_head = FakeHead::kFactorised;
    if (factorised) config.loss.robust_cf_fraction = 0.5;
    if (!factorised) config.loss.flip_goal = 0.5;
    if (!factorised) config.loss.false_change_goal = 0.01;
    auto whole = make(config), first = make(config), second = make(config);
    for (int i = 0; i < 12; ++i) whole->step(square_batch(i));
    for (int i = 0; i < 6; ++i) first->step(square_batch(i));
    const TensorMap saved = copied_state(*first);
    second->load_state(saved);
    EXPECT_EQ(second->steps_done(), 6);
    for (int i = 6; i < 12; ++i) second->step(square_batch(i));
    expect_equal_states(whole->state(), second->state());
    expect_equal_states(model_tensors(whole->averaged()), model_tensors(second->averaged()));
  }
}

// Gray images, whose labels say nothing of them.
Batch senseless_batch(int i) {
  Batch batch = square_batch(i);
  batch.images = torch::full_like(batch.images, 0.5);
  return batch;
}

TEST(Trainer, TheWarmUpGoesOnWhereNothingWasLearned) {
  Config config = square_config();
  config.train.discriminator_warmup = 100;
  config.train.longest_warmup = 104;
  auto whole = make(config), first = make(config), second = make(config);
  EXPECT_EQ(whole->total_steps(), 100 + config.train.steps);
  for (int i = 0; i < 107; ++i) whole->step(senseless_batch(i));
  EXPECT_EQ(whole->total_steps(), 104 + config.train.steps);
  EXPECT_EQ(whole->schedule().phase(103), Phase::kWarmup);
  EXPECT_EQ(whole->schedule().phase(104), Phase::kJoint);
  for (int i = 0; i < 102; ++i) first->step(senseless_batch(i));
  second->load_state(copied_state(*first));
  EXPECT_EQ(second->total_steps(), 104 + config.train.steps);
  for (int i = 102; i < 107; ++i) second->step(senseless_batch(i));
  expect_equal_states(whole->state(), second->state());

  auto learns = make(config);
  for (int i = 0; i < 101; ++i) learns->step(square_batch(i));
  EXPECT_EQ(learns->total_steps(), 100 + config.train.steps);
}

TEST(Trainer, AStepKeepsNoMemory) {
  for (const Precision precision : {Precision::kFloat32, Precision::kBFloat16}) {
    Config config = square_config();
    config.train.discriminator_warmup = 1;
    config.train.precision = precision;
    auto trainer = make(config);
    const Batch batch = square_batch(0);
    const LiveMemory memory;
    for (int i = 0; i < 3; ++i) trainer->step(batch);
    const int64_t before = memory.bytes();
    EXPECT_GT(before, 0);  // the gradients: what is counted is really counted
    for (int i = 0; i < 10; ++i) trainer->step(batch);
    EXPECT_EQ(memory.bytes(), before);
  }
}

TEST(Trainer, TradesContinuesBitwiseToo) {
  for (const ModelKind kind : {ModelKind::kCounterfactual, ModelKind::kClassifier}) {
    Config config = square_config();
    config.model.kind = kind;
    config.loss.robust_fraction = 0.5;
    config.loss.robust_loss = RobustLoss::kTrades;
    auto whole = make(config), first = make(config), second = make(config);
    for (int i = 0; i < 6; ++i) whole->step(square_batch(i));
    for (int i = 0; i < 3; ++i) first->step(square_batch(i));
    const TensorMap saved = copied_state(*first);
    second->load_state(saved);
    for (int i = 3; i < 6; ++i) second->step(square_batch(i));
    expect_equal_states(whole->state(), second->state());
    // The penalty is at work.
    config.loss.robust_beta = 0;
    auto without = make(config);
    for (int i = 0; i < 6; ++i) without->step(square_batch(i));
    EXPECT_FALSE(torch::equal(without->state().at("state.discriminator.weights.head.weight"),
                              whole->state().at("state.discriminator.weights.head.weight")));
  }
}

TEST(Trainer, BFloat16TakesNearlyTheSameSteps) {
  const auto losses_of = [](Precision precision) {
    Config config = square_config();
    config.train.precision = precision;
    auto trainer = make(config);
    std::vector<double> losses;
    for (int64_t i = 0; i < 6; ++i)
      for (const auto& [name, value] : trainer->step(square_batch(i))) losses.push_back(value);
    return losses;
  };
  const auto exact = losses_of(Precision::kFloat32), rounded = losses_of(Precision::kBFloat16);
  ASSERT_EQ(exact.size(), rounded.size());
  EXPECT_NE(exact, rounded);
  for (size_t i = 0; i < exact.size(); ++i)
    EXPECT_NEAR(rounded[i], exact[i], 0.03 * (1 + std::abs(exact[i])));
}

TEST(Trainer, StateOfAnotherShapeIsRefused) {
  Config config = square_config();
  auto trainer = make(config);
  const TensorMap state = trainer->state();
  config.model.generator_widths = {8, 24};
  auto other = make(config);
  EXPECT_THROW(other->load_state(state), Error);
  EXPECT_THROW(other->load_state({}), Error);
}

TEST(Trainer, EveryVariantTakesStepsAndTrainsBothNetworks) {
  std::vector<Config> variants(6, square_config());
  variants[0].model.output = GeneratorOutput::kResidual;
  variants[1].model.output = GeneratorOutput::kDirect;
  variants[2].loss.adversarial = AdversarialLoss::kHinge;
  variants[3].loss.adversarial = AdversarialLoss::kLeastSquares;
  variants[3].loss.idempotence = true;
  variants[4].loss.cycles = 2;
  variants[4].loss.lambda_tv = 0.5;
  variants[5].loss.lambda_cls_cf = 0.5;
  variants[5].model.fake_head = FakeHead::kFactorised;
  for (auto& config : variants) {
    config.train.discriminator_warmup = 0;
    auto trainer = make(config);
    const TensorMap before = copied_state(*trainer);
    const StepLosses losses = trainer->step(square_batch(0));
    EXPECT_TRUE(std::isfinite(value_of(losses, "D")));
    int64_t still = 0;
    for (const auto& [name, tensor] : trainer->state())
      if (name.find(".weights.") != std::string::npos)
        still += torch::equal(tensor, before.at(name));
    EXPECT_EQ(still, 0) << "weights that no loss reaches";
  }
}

TEST(Trainer, WithoutTheDiscriminatorAsCriticTheClassifierStaysAsTheWarmUpLeftIt) {
  for (const auto critic : {Critic::kSeparate, Critic::kNone}) {
    Config config = square_config();
    config.model.critic = critic;
    config.loss.adversarial = AdversarialLoss::kLeastSquares;
    config.train.discriminator_warmup = 1;
    auto trainer = make(config);
    trainer->step(square_batch(0));
    const TensorMap before = copied_state(*trainer);
    trainer->step(square_batch(1));
    for (const auto& [name, tensor] : trainer->state()) {
      if (name.find(".weights.") == std::string::npos) continue;
      const bool is_classifier = name.rfind("state.discriminator.", 0) == 0;
      EXPECT_EQ(torch::equal(tensor, before.at(name)), is_classifier) << name;
    }
    EXPECT_EQ(before.count("state.critic.weights.head.weight"), critic == Critic::kSeparate);
  }
}

TEST(Trainer, AttackedCounterfactualsAreHarder) {
  const auto first_loss = [](double fraction) {
    Config config = square_config();
    config.model.fake_head = FakeHead::kFactorised;
    config.loss.robust_cf_fraction = fraction;
    config.loss.robust_eps = 16;
    config.train.robust_ramp = 0;
    config.train.discriminator_warmup = 0;
    return value_of(make(config)->step(square_batch(0)), "D");
  };
  const double plain = first_loss(0), half = first_loss(0.5), all = first_loss(1);
  EXPECT_GT(half, plain + 1e-4);
  EXPECT_GT(all, half + 1e-4);
}

TEST(Trainer, AfterwardsOnlyTheDiscriminatorLearns) {
  for (const auto critic : {Critic::kDiscriminator, Critic::kNone}) {
    Config config = square_config();
    config.model.critic = critic;
    config.train.discriminator_warmup = 1;
    config.train.steps = 2;
    config.train.discriminator_after = 2;
    auto trainer = make(config);
    EXPECT_EQ(trainer->total_steps(), 5);
    for (int i = 0; i < 3; ++i) trainer->step(square_batch(i));
    const TensorMap before = copied_state(*trainer);
    for (int i = 3; i < 5; ++i)
      EXPECT_TRUE(std::isfinite(value_of(trainer->step(square_batch(i)), "D")));
    for (const auto& [name, tensor] : trainer->state()) {
      if (name.find(".weights.") == std::string::npos) continue;
      const bool learns = name.rfind("state.discriminator.", 0) == 0;
      EXPECT_EQ(torch::equal(tensor, before.at(name)), !learns) << name;
    }
  }
}

TEST(Trainer, ThreeClassesGetTargetsOfEachOther) {
  Config config = square_config();
  config.train.discriminator_warmup = 0;
  auto trainer = make_trainer(make_model(config, {"a", "b", "c"}, 2));
  Batch batch = square_batch(0);
  batch.labels = torch::arange(6, torch::kInt64).remainder(3);
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(std::isfinite(value_of(trainer->step(batch), "adv")));
}

constexpr int64_t kOwn = 5;

/// Asks the first `kOwn` of six images for their own class, from the first step on.
Config mostly_own_config() {
  Config config = square_config();
  config.train.discriminator_warmup = 0;
  config.train.identity_fraction = 0.8;
  return config;
}

Batch batch_of_three_classes() {
  Batch batch = square_batch(0);
  batch.labels = torch::tensor({0, 1, 2, 0, 1, 2}, torch::kInt64);
  return batch;
}

/// (4) of the first step: mean over the first `kOwn` images of their weight times |G(x, y) - x|.
double first_identity_loss(const Config& config, const Batch& batch, const Tensor& weights) {
  torch::NoGradGuard no_grad;
  Model model = make_model(config, {"a", "b", "c"}, 2);
  const Tensor same = model.generator->forward(batch.images, batch.labels).counterfactual;
  double sum = 0;
  for (int64_t i = 0; i < kOwn; ++i)
    sum += weights[batch.labels[i].item<int64_t>()].item<double>() *
           (same[i] - batch.images[i]).abs().mean().item<double>();
  return sum / kOwn;
}

TEST(Trainer, GoodImagesAskedToStayCountAsMuchAsAllDefects) {
  Config config = mostly_own_config();
  const Batch batch = batch_of_three_classes();
  for (const bool balanced : {true, false}) {
    config.data.balanced = balanced;
    auto trainer = make_trainer(make_model(config, {"a", "b", "c"}, 2));
    const Tensor weights = balanced ? torch::tensor({0.75, 0.75, 1.5}) : torch::ones({3});
    const double by_hand = first_identity_loss(config, batch, weights);
    EXPECT_GT(by_hand, 0);
    EXPECT_NEAR(value_of(trainer->step(batch), "id"), by_hand, 1e-5 * by_hand);
  }
}

TEST(Trainer, TheIdentityControlWeighsGoodImages) {
  Config config = mostly_own_config();
  config.loss.false_change_goal = 0.3;
  const Batch batch = batch_of_three_classes();
  auto trainer = make_trainer(make_model(config, {"a", "b", "c"}, 2));
  TensorMap state = copied_state(*trainer);
  state.at("state.identity.log_factor").fill_(std::log(4));
  trainer->load_state(state);
  const double by_hand = first_identity_loss(config, batch, torch::tensor({0.75, 0.75, 4 * 1.5}));
  EXPECT_NEAR(value_of(trainer->step(batch), "id"), by_hand, 1e-5 * by_hand);
}

TEST(Trainer, TheIdentityControlSeesWhatIsChanged) {
  Config config = square_config();
  config.train.discriminator_warmup = 0;
  config.train.ramp = 0;
  config.train.identity_fraction = 0.5;
  config.loss.false_change_goal = 0.3;
  const Batch batch = square_batch(0);  // of the first three two are defects, of the others one
  double kept = 0, turned = 0;
  {
    torch::NoGradGuard no_grad;
    Model model = make_model(config, {"bad", "good"}, 1);
    const Tensor targets = torch::tensor({0, 1, 0, 0, 1, 0}, torch::kInt64);
    const Tensor made = model.generator->forward(batch.images, targets).counterfactual;
    kept = (made[1] - batch.images[1]).square().mean().item<double>();
    turned = (made[4] - batch.images[4]).square().mean().item<double>();
  }
  auto trainer = make(config);
  trainer->step(batch);
  const Tensor averages = trainer->state().at("state.identity.averages");
  const std::vector<double> by_hand{1, kept, 1, turned};
  for (int i = 0; i < 4; ++i)
    EXPECT_NEAR(averages[i].item<double>(), 0.01 * by_hand[i], 1e-6 * by_hand[i]) << i;
}

TEST(Trainer, ClassifierAndSegmenterLearnSquares) {
  for (const auto kind : {ModelKind::kClassifier, ModelKind::kSegmenter}) {
    Config config = square_config();
    config.model.kind = kind;
    config.train.steps = 80;
    config.train.lr_classifier = 3e-3;
    config.train.lr_generator = 3e-3;
    auto trainer = make(config);
    const double first = value_of(trainer->step(square_batch(0)), "loss");
    double last = 0;
    for (int i = 1; i < 80; ++i) last = value_of(trainer->step(square_batch(i)), "loss");
    EXPECT_LT(last, 0.5 * first);
  }
}

TEST(Trainer, NonFiniteLossIsAnErrorThatNamesTheRemedy) {
  auto trainer = make(square_config());
  Batch batch = square_batch(0);
  batch.images.fill_(std::nan(""));
  try {
    trainer->step(batch);
    FAIL() << "nothing was thrown";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("lower train.lr"), std::string::npos);
  }
}

// The loss of the step that spoilt them may still have been finite.
TEST(Trainer, NonFiniteWeightsAreAnErrorThatNamesThem) {
  auto trainer = make(square_config());
  trainer->step(square_batch(0));
  EXPECT_NO_THROW(trainer->require_finite());
  TensorMap state = copied_state(*trainer);
  state.at("state.generator.weights.head.weight").view(-1)[3] = std::nan("");
  trainer->load_state(state);
  try {
    trainer->require_finite();
    FAIL() << "nothing was thrown";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("generator.head.weight"), std::string::npos);
  }
}

TEST(Trainer, AStateOfAnImpossibleStepIsRefused) {
  auto trainer = make(square_config());
  TensorMap state = copied_state(*trainer);
  for (const int64_t step : {int64_t{-1}, trainer->total_steps() + 1}) {
    state["state.step"] = torch::tensor(step, torch::kInt64);
    EXPECT_THROW(trainer->load_state(state), Error) << step;
  }
}

}  // namespace
}  // namespace flipside::trainer_test
