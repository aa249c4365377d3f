// Several processes on one batch take the steps of one process. Threads stand for processes here.

#include <gtest/gtest.h>

#include <mutex>

#include "flipside/core/error.h"
#include "flipside/train/trainer.h"
#include "support/attacked_training.h"
#include "support/group.h"
#include "support/square_batches.h"
#include "support/temp_folder.h"

namespace flipside::group_trainer_test {
namespace {

// Sums of float32 numbers in another order, against the largest gradient of a network.
constexpr double kGradientTolerance = 1e-5;
// The same where images are attacked (see attacked_training.h).
constexpr double kAttackedTolerance = 1e-3;
// Adam makes whole steps of the smallest gradients, so that the losses drift apart faster than
// that.
constexpr double kTolerance = 2e-3;
constexpr int kSteps = 8;

Batch share_of(const Batch& batch, const Shard& shard) {
  const auto rows = [&](const Tensor& whole) {
    return whole.defined() ? whole.slice(0, shard.index, whole.size(0), shard.count).clone()
                           : Tensor();
  };
  return {rows(batch.images).contiguous(kChannelsLast), rows(batch.labels), rows(batch.masks),
          rows(batch.indices), batch.labels};
}

/// Makes the batch of a step.
using Batches = std::function<Batch(int64_t step)>;

std::vector<StepLosses> losses_of(Trainer& trainer, const Batches& batches, const Shard& shard) {
  std::vector<StepLosses> losses;
  for (int64_t step = 0; step < kSteps; ++step)
    losses.push_back(
        trainer.step(shard.is_whole() ? batches(step) : share_of(batches(step), shard)));
  return losses;
}

/// Adam's first moments after one step, which are the gradients times 1 - beta1, by network.
std::map<std::string, std::vector<Tensor>> first_gradients(const Trainer& trainer) {
  std::map<std::string, std::vector<Tensor>> gradients;
  for (const auto& [name, tensor] : trainer.state()) {
    const size_t place = name.find(".adam.");
    if (place == std::string::npos || name.substr(name.size() - 2) != ".m") continue;
    gradients[name.substr(0, place)].push_back(tensor.flatten().clone());
  }
  return gradients;
}

void expect_gradients_of_one_process(Config config, int64_t size, const Batches& batches) {
  config.train.discriminator_warmup = 0;
  const double tolerance = is_attacked(config) ? kAttackedTolerance : kGradientTolerance;
  const auto make = [&](const ProcessGroup& group) {
    return make_trainer(make_model(config, {"bad", "good"}, 1), group);
  };
  const auto alone = make({});
  alone->step(batches(0));
  std::mutex mutex;
  in_group(size, [&](const ProcessGroup& group) {
    std::unique_lock<std::mutex> lock(mutex);
    const auto trainer = make(group);
    lock.unlock();
    trainer->step(share_of(batches(0), group.shard()));
    auto gradients = first_gradients(*trainer);
    for (const auto& [network, expected] : first_gradients(*alone)) {
      const Tensor whole = torch::cat(expected), own = torch::cat(gradients[network]);
      EXPECT_LE((own - whole).abs().max().item<double>(),
                tolerance * whole.abs().max().item<double>())
          << network;
    }
  });
}

void expect_steps_of_one_process(const Config& usual, int64_t size, const Batches& batches) {
  expect_gradients_of_one_process(usual, size, batches);
  const Config config = to_compare(usual);
  const auto make = [&](const ProcessGroup& group) {
    return make_trainer(make_model(config, {"bad", "good"}, 1), group);
  };
  const auto expected = losses_of(*make({}), batches, {});
  std::mutex mutex;  // threads share libtorch's generator, from which weights are drawn
  std::vector<TensorMap> states(size);
  in_group(size, [&](const ProcessGroup& group) {
    std::unique_lock<std::mutex> lock(mutex);
    const auto trainer = make(group);
    lock.unlock();
    const auto losses = losses_of(*trainer, batches, group.shard());
    for (int step = 0; step < kSteps; ++step) {
      ASSERT_EQ(losses[step].size(), expected[step].size());
      for (size_t i = 0; i < expected[step].size(); ++i) {
        const auto& [name, value] = expected[step][i];
        EXPECT_EQ(losses[step][i].first, name);
        EXPECT_NEAR(losses[step][i].second, value, kTolerance * (1 + std::abs(value)))
            << name << " of step " << step << ", process " << group.rank();
      }
    }
    lock.lock();
    for (const auto& [name, tensor] : trainer->state()) states[group.rank()][name] = tensor.clone();
  });
  for (int64_t rank = 1; rank < size; ++rank)
    for (const auto& [name, tensor] : states[0])
      EXPECT_TRUE(torch::equal(tensor, states[rank].at(name))) << name;
}

Batch plain(int64_t step) { return square_batch(step); }

TEST(GroupTrainer, EveryVariantTakesTheStepsOfOneProcess) {
  std::vector<Config> variants(8, square_config());
  variants[1].loss.cycles = 2;
  variants[1].loss.lambda_tv = 0.5;
  variants[1].model.fake_head = FakeHead::kFactorised;
  variants[1].loss.robust_cf_fraction = 0.5;
  variants[2].loss.robust_fraction = 0.5;
  variants[3].loss.robust_fraction = 0.3;
  variants[3].loss.robust_loss = RobustLoss::kTrades;
  variants[4].loss.idempotence = true;
  variants[4].loss.lambda_cls_cf = 0.5;
  variants[5].model.critic = Critic::kSeparate;
  variants[5].loss.adversarial = AdversarialLoss::kLeastSquares;
  variants[6].model.critic = Critic::kNone;
  variants[7].loss.flip_goal = 0.5;
  variants[7].loss.false_change_goal = 0.01;
  variants[7].train.ramp = 0;
  for (size_t i = 0; i < variants.size(); ++i) {
    SCOPED_TRACE(i);
    expect_steps_of_one_process(variants[i], 2, plain);
  }
}

TEST(GroupTrainer, UnequalSharesCountByTheirImages) {
  // 6 images in 4 processes: two each for two of them, one each for the others; two images of the
  // batch are asked for their own class, so that two processes have none of those.
  expect_steps_of_one_process(square_config(), 4, plain);
}

TEST(GroupTrainer, ThreeClassesDrawTheTargetsOfTheWholeBatch) {
  Config config = square_config();
  config.train.discriminator_warmup = 0;
  const auto batch = [](int64_t step) {
    Batch made = square_batch(step);
    made.labels = torch::arange(6, torch::kInt64).remainder(3);
    return made;
  };
  const auto losses_in = [&](const ProcessGroup& group) {
    return make_trainer(make_model(config, {"a", "b", "c"}, 2), group)
        ->step(group.is_alone() ? batch(0) : share_of(batch(0), group.shard()));
  };
  const StepLosses expected = losses_in({});
  std::mutex mutex;
  in_group(2, [&](const ProcessGroup& group) {
    std::unique_lock<std::mutex> lock(mutex);
    const auto trainer = make_trainer(make_model(config, {"a", "b", "c"}, 2), group);
    lock.unlock();
    const StepLosses losses = trainer->step(share_of(batch(0), group.shard()));
    for (size_t i = 0; i < expected.size(); ++i)
      EXPECT_NEAR(losses[i].second, expected[i].second, 1e-4) << expected[i].first;
  });
}

TEST(GroupTrainer, ClassifierAndSegmenterTakeTheStepsOfOneProcess) {
  Config config = square_config();
  config.model.kind = ModelKind::kClassifier;
  config.loss.robust_fraction = 0.5;
  config.loss.robust_loss = RobustLoss::kTrades;
  expect_steps_of_one_process(config, 2, plain);
  config.model.kind = ModelKind::kSegmenter;
  expect_steps_of_one_process(config, 2, plain);
  // Masks of some images only: the known pixels are not shared equally.
  expect_steps_of_one_process(config, 2, [](int64_t step) {
    Batch batch = square_batch(step);
    batch.masks[2].fill_(std::nan(""));
    batch.masks[4].slice(1, 0, 7).fill_(std::nan(""));
    return batch;
  });
}

TEST(GroupTrainer, TheFirstProcessesStateIsShared) {
  Config config = square_config();
  std::mutex mutex;
  std::vector<TensorMap> states(2);
  in_group(2, [&](const ProcessGroup& group) {
    std::unique_lock<std::mutex> lock(mutex);
    Config own = config;
    own.train.seed += static_cast<uint64_t>(group.rank());  // other weights
    auto trainer = make_trainer(make_model(own, {"bad", "good"}, 1), {});
    for (int i = 0; i < 2 + group.rank(); ++i) trainer->step(square_batch(i));
    TensorMap saved;
    for (const auto& [name, tensor] : trainer->state()) saved[name] = tensor.clone();
    auto shared = make_trainer(make_model(own, {"bad", "good"}, 1), group);
    lock.unlock();
    shared->load_state(saved);
    shared->share_state();
    EXPECT_EQ(shared->steps_done(), 2);
    lock.lock();
    for (const auto& [name, tensor] : shared->state()) states[group.rank()][name] = tensor.clone();
    if (!group.is_first()) return;
    for (const auto& [name, tensor] : saved)
      EXPECT_TRUE(torch::equal(tensor, states[0].at(name))) << name;
  });
  for (const auto& [name, tensor] : states[0])
    EXPECT_TRUE(torch::equal(tensor, states[1].at(name))) << name;
}

TEST(GroupTrainer, ABatchTooSmallForTheProcessesIsRefused) {
  Config config = square_config();
  config.train.discriminator_warmup = 0;
  config.train.identity_fraction = 0.8;  // leaves one image of six for counterfactuals
  std::mutex mutex;
  in_group(2, [&](const ProcessGroup& group) {
    const std::lock_guard<std::mutex> lock(mutex);
    const Model model = make_model(config, {"bad", "good"}, 1);  // each process has its own
    EXPECT_NE(message_of(ErrorCode::kConfig, [&] { make_trainer(model, group); }), "");
  });
}

}  // namespace
}  // namespace flipside::group_trainer_test
