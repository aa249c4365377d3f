#include "flipside/explain/answer.h"

#include <gtest/gtest.h>

#include "flipside/core/error.h"
#include "flipside/explain/explainer.h"
#include "support/small_model.h"
#include "support/temp_folder.h"

namespace flipside::answer_test {
namespace {

Tensor random_images() {
  torch::manual_seed(4);
  return torch::rand({24, 3, 16, 16}) * torch::rand({24, 3, 1, 1});
}

/// Of its answers to random images some are sure and some are not.
Model model_in_two_minds(ModelKind kind) {
  const torch::NoGradGuard no_grad;
  torch::manual_seed(3);
  Model model = small_model({"a", "b", "good"}, 2, kind);
  model.config.explain.average_views = true;
  for (auto& parameter : model.discriminator->parameters())
    parameter.add_(0.3 * torch::randn(parameter.sizes()));
  // As if trained: what differs between images decides, and not what they have in common.
  const auto weights = model.discriminator->named_parameters();
  weights["head.weight"].mul_(20);
  Discriminator discriminator = model.discriminator;
  weights["head.bias"].sub_(discriminator->forward(random_images()).mean(0));
  return model;
}

Tensor plain_probs(const Model& model, const Tensor& image) {
  const torch::NoGradGuard no_grad;
  Discriminator discriminator = model.discriminator;
  return discriminator->forward(image).slice(1, 0, 3).softmax(1)[0];
}

/// One image after the other, one view after the other.
Tensor slow_answer(const Model& model, const Tensor& image) {
  const Tensor probs = plain_probs(model, image);
  if (probs.max().item<float>() >= 0.95F) return probs;
  Tensor sum = torch::zeros({3});
  for (const bool mirrored : {false, true})
    for (int64_t turns = 0; turns < 4; ++turns)
      sum += plain_probs(model, (mirrored ? image.flip({3}) : image).rot90(turns, {2, 3}));
  return sum / 8;
}

TEST(Answer, IsAskedForAgainWhereItIsNotSure) {
  for (const ModelKind kind : {ModelKind::kClassifier, ModelKind::kCounterfactual}) {
    const Model model = model_in_two_minds(kind);
    const Tensor images = random_images(), probs = real_class_probs(model, images);
    int sure = 0, changed = 0;
    for (int64_t i = 0; i < images.size(0); ++i) {
      const Tensor image = images.narrow(0, i, 1), plain = plain_probs(model, image);
      EXPECT_TRUE(torch::allclose(probs[i], slow_answer(model, image), 1e-4, 1e-5)) << i;
      sure += plain.max().item<float>() >= 0.95F;
      changed += plain.argmax().item<int64_t>() != probs[i].argmax().item<int64_t>();
    }
    EXPECT_GT(sure, 0);
    EXPECT_LT(sure, 24);
    EXPECT_GT(changed, 0);
  }
}

TEST(Answer, HasLogitsWhoseGradientIsThatOfWhatAnswers) {
  const Model model = model_in_two_minds(ModelKind::kCounterfactual);
  const Tensor images = random_images(), probs = real_class_probs(model, images);
  const Tensor x = images.detach().clone().requires_grad_(true);
  const Tensor logits = answer_logits(model, x);
  EXPECT_TRUE(torch::allclose(logits.softmax(1), probs, 1e-4, 1e-5));
  const auto gradient_at = [&](const Tensor& of) {
    return torch::autograd::grad({of.select(1, 0).sum()}, {x}, {}, /*retain_graph=*/true)[0];
  };
  const Tensor gradient = gradient_at(logits);
  Discriminator network = model.discriminator;
  const Tensor plain = gradient_at(network->forward(x).slice(1, 0, 3).log_softmax(1));
  const Tensor mean = gradient_at(view_probs(model, x).log());
  for (int64_t i = 0; i < images.size(0); ++i) {
    const bool sure = plain_probs(model, images.narrow(0, i, 1)).max().item<float>() >= 0.95F;
    const Tensor expected = sure ? plain[i] : mean[i];
    EXPECT_LT((gradient[i] - expected).norm().item<float>(),
              1e-3F * expected.norm().item<float>() + 1e-6F)
        << i;
  }
}

TEST(Answer, HasDifferingLogitsWhereItIsAllTooSure) {
  const torch::NoGradGuard no_grad;
  const Model model = model_in_two_minds(ModelKind::kClassifier);
  model.discriminator->named_parameters()["head.bias"].copy_(torch::tensor({900.0F, 0.0F, -50.0F}));
  const Tensor logits = answer_logits(model, random_images());
  EXPECT_TRUE((logits.select(1, 1) - logits.select(1, 2) > 0).all().item<bool>());
  EXPECT_LT(logits.select(1, 1).max().item<float>(), -200.0F);  // its probability is 0
}

TEST(Answer, IsThatOfTheImageAsItLiesWithoutViews) {
  Model model = model_in_two_minds(ModelKind::kClassifier);
  model.config.explain.average_views = false;
  const Tensor images = random_images(), probs = real_class_probs(model, images);
  for (int64_t i = 0; i < images.size(0); ++i)
    EXPECT_TRUE(torch::allclose(probs[i], plain_probs(model, images.narrow(0, i, 1)), 1e-4, 1e-5));
}

TEST(Answer, IsWhatAnExplanationSaysOfImageAndCounterfactual) {
  const Model model = model_in_two_minds(ModelKind::kCounterfactual);
  const Tensor images = random_images();
  const Explanation explanation = Explainer(model).explain(images);
  EXPECT_TRUE(torch::allclose(explanation.probs, real_class_probs(model, images), 1e-4, 1e-5));
  EXPECT_TRUE(torch::equal(explanation.predicted, explanation.probs.argmax(1)));
  EXPECT_TRUE(torch::allclose(explanation.counterfactual_probs,
                              real_class_probs(model, explanation.counterfactual), 1e-4, 1e-5));
}

TEST(Answer, ASegmenterHasNone) {
  const Model segmenter = small_model({"bad", "good"}, 1, ModelKind::kSegmenter);
  EXPECT_NE(message_of(ErrorCode::kArgument,
                       [&] {
                         real_class_probs(segmenter, torch::rand({1, 3, 16, 16}));
                       }),
            "");
}

}  // namespace
}  // namespace flipside::answer_test
