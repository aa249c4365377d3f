#include "flipside/train/gradient_sync.h"

#include <gtest/gtest.h>

#include <mutex>

#include "flipside/core/random.h"
#include "support/group.h"

namespace flipside::gradient_sync_test {
namespace {

struct Layers {
  std::vector<Tensor> weights;
  Layers() {
    Rng rng(5);
    for (int i = 0; i < 4; ++i) {
      Tensor weight = torch::empty({6, 6}, torch::kDouble);
      for (int64_t k = 0; k < 36; ++k) weight.data_ptr<double>()[k] = rng.normal(0, 0.5);
      weights.push_back(weight.requires_grad_(true));
    }
    // Laid out column by column, as channels_last weights are not row by row.
    weights[1] = weights[1].detach().t().clone(at::MemoryFormat::Preserve).requires_grad_(true);
  }
  /// The mean over rows of x, through the weights chosen; the first one twice.
  Tensor loss(Tensor x, const std::vector<int>& chosen) const {
    x = x.mm(weights[0]);
    for (int i : chosen) x = x.mm(weights[i]).tanh();
    return x.mm(weights[0]).square().mean();
  }
};

Tensor inputs() {
  Rng rng(6);
  Tensor x = torch::empty({8, 6}, torch::kDouble);
  for (int64_t k = 0; k < x.numel(); ++k) x.data_ptr<double>()[k] = rng.normal();
  return x;
}

TEST(GradientSync, SumsAreTheGradientsOfTheWholeBatch) {
  Layers whole;
  whole.loss(inputs(), {1, 3}).backward();
  for (const int64_t bucket_bytes : {1, 400, 1 << 20}) {
    std::mutex mutex;
    std::vector<std::vector<Tensor>> gradients;
    in_group(2, [&](const ProcessGroup& group) {
      Layers own;
      GradientSync sync(own.weights, group, bucket_bytes);
      for (int step = 0; step < 3; ++step) {
        for (auto& weight : own.weights) weight.mutable_grad() = Tensor();
        // 5 and 3 of the 8 images.
        const Tensor x = group.is_first() ? inputs().slice(0, 0, 5) : inputs().slice(0, 5);
        sync.backward(own.loss(x, {1, 3}) * (static_cast<double>(x.size(0)) / 8.0));
      }
      const std::lock_guard<std::mutex> lock(mutex);
      gradients.emplace_back();
      for (auto& weight : own.weights) gradients.back().push_back(weight.grad());
    });
    for (size_t i = 0; i < 4; ++i) {
      if (i == 2) {  // took no part
        EXPECT_FALSE(gradients[0][i].defined());
        EXPECT_FALSE(gradients[1][i].defined());
        continue;
      }
      EXPECT_TRUE(torch::allclose(gradients[0][i], whole.weights[i].grad(), 1e-12, 1e-14)) << i;
      EXPECT_TRUE(torch::equal(gradients[0][i], gradients[1][i])) << i;
    }
  }
}

TEST(GradientSync, AGradientInOneProcessReachesAll) {
  Layers whole;
  (whole.loss(inputs(), {1, 2}) + whole.loss(inputs(), {3})).backward();
  in_group(2, [&](const ProcessGroup& group) {
    Layers own;
    GradientSync sync(own.weights, group, /*bucket_bytes=*/600);
    sync.backward(group.is_first() ? own.loss(inputs(), {1, 2}) : own.loss(inputs(), {3}));
    for (size_t i = 0; i < 4; ++i)
      EXPECT_TRUE(torch::allclose(own.weights[i].grad(), whole.weights[i].grad(), 1e-12, 1e-14))
          << i;
  });
}

TEST(GradientSync, SumsHaveTheStridesOfTheirParameters) {
  // Those of a 1x1 convolution's gradient may be others, and depend on the number of images: the
  // processes would then go different ways to the same values.
  const Tensor factors = torch::arange(36, torch::kDouble).view({6, 6, 1, 1});
  const auto weight = [] {
    return torch::ones({6, 6, 1, 1}, torch::kDouble)
        .as_strided({6, 6, 1, 1}, {6, 1, 6, 6})
        .requires_grad_(true);
  };
  const Tensor alone = weight();
  (alone * factors).sum().backward();
  ASSERT_NE(alone.grad().strides(), alone.strides());
  in_group(2, [&](const ProcessGroup& group) {
    const Tensor own = weight();
    GradientSync sync({own}, group);
    sync.backward((own * factors).sum());
    EXPECT_TRUE(torch::equal(own.grad(), 2 * factors));
    EXPECT_EQ(own.grad().strides(), own.strides());
  });
}

TEST(GradientSync, FrozenWeightsAndOtherBackwardPassesAreLeftAlone) {
  in_group(2, [&](const ProcessGroup& group) {
    Layers own;
    GradientSync sync(own.weights, group);
    own.loss(inputs(), {1, 2, 3}).backward();  // not the sync's: stays local
    EXPECT_TRUE(own.weights[2].grad().defined());
    for (auto& weight : own.weights) weight.mutable_grad() = Tensor();
    own.weights[3].set_requires_grad(false);
    sync.backward(own.loss(inputs(), {1, 3}));
    own.weights[3].set_requires_grad(true);
    EXPECT_FALSE(own.weights[3].grad().defined());
    for (auto& weight : own.weights) weight.mutable_grad() = Tensor();
    sync.backward(own.loss(inputs(), {1, 3}));
    EXPECT_TRUE(own.weights[3].grad().defined());
  });
}

}  // namespace
}  // namespace flipside::gradient_sync_test
