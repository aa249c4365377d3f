#include "flipside/explain/explainer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <future>

#include "flipside/explain/guided_filter.h"
#include "support/live_memory.h"
#include "support/small_model.h"
#include "support/temp_folder.h"

namespace flipside::explainer_test {
namespace {

Tensor random_images(int64_t count) {
  torch::manual_seed(5);
  return torch::rand({count, 3, 16, 16});
}

TEST(Explainer, ChoosesTheReferenceForDefectsAndTheLikeliestDefectForGoodParts) {
  const Explainer explainer(small_model({"a", "good", "z"}, /*reference_class=*/1));
  const Tensor probs = torch::tensor({0.6f, 0.3f, 0.1f,  //
                                      0.1f, 0.8f, 0.1f,  //
                                      0.1f, 0.7f, 0.2f,  //
                                      0.2f, 0.3f, 0.5f})
                           .view({4, 3});
  EXPECT_TRUE(torch::equal(explainer.default_targets(probs),
                           torch::tensor(std::vector<int64_t>{1, 0, 2, 1})));
}

TEST(Explainer, SaysWhatTheNetworksSay) {
  torch::NoGradGuard no_grad;
  Model model = lively_model({"bad", "good"}, 1);
  model.thresholds.label_free = 0.2;
  model.config.explain.edge_radius = 0;
  const Explainer explainer(model);
  const Tensor images = random_images(8);
  const Explanation e = explainer.explain(images);
  const Tensor logits = model.discriminator->forward(images);
  EXPECT_TRUE(torch::allclose(e.probs, logits.slice(1, 0, 2).softmax(1), 1e-4, 1e-5));
  EXPECT_TRUE(torch::allclose(e.fakeness, logits.softmax(1).select(1, 2), 1e-4, 1e-5));
  EXPECT_TRUE(torch::equal(e.predicted, e.probs.argmax(1)));
  EXPECT_TRUE(torch::equal(e.target, 1 - e.predicted));  // of two classes always the other one
  EXPECT_TRUE(
      torch::allclose(e.head_probs, model.generator->classify(images).softmax(1), 1e-4, 1e-5));
  const Tensor counterfactual = model.generator->forward(images, e.target).counterfactual;
  EXPECT_TRUE(torch::allclose(e.counterfactual, counterfactual, 1e-4, 1e-5));
  EXPECT_TRUE(torch::allclose(
      e.counterfactual_probs,
      model.discriminator->forward(counterfactual).slice(1, 0, 2).softmax(1), 1e-4, 1e-5));
  const Tensor change = smooth((counterfactual - images).abs().mean(1, true), kSmoothing);
  EXPECT_TRUE(torch::allclose(e.saliency, change, 1e-4, 1e-5));
  EXPECT_GT(e.saliency.max().item<double>(), 0.2);
}

TEST(Explainer, FitsTheMapAndNothingElseToEdgesWhereAsked) {
  Model model = lively_model({"bad", "good"}, 1);
  const Tensor images = random_images(4);
  const Explanation by_default = Explainer(model).explain(images);
  model.config.explain.edge_radius = 0;
  const Explanation plain = Explainer(model).explain(images);
  model.config.explain.edge_radius = 3;
  const Explanation fitted = Explainer(model).explain(images);
  EXPECT_TRUE(torch::equal(fitted.counterfactual, plain.counterfactual));
  EXPECT_TRUE(torch::equal(fitted.probs, plain.probs));
  const Tensor change = saliency_map(images, plain.counterfactual);
  EXPECT_TRUE(torch::equal(plain.saliency, smooth(change, kSmoothing)));
  EXPECT_TRUE(torch::equal(fitted.saliency, refined(change, images, 3)));
  EXPECT_TRUE(torch::equal(by_default.saliency, refined(change, images, 1)));
  EXPECT_FALSE(torch::allclose(fitted.saliency, plain.saliency, 0, 0.01));
}

/// What the second pass makes of one counterfactual, by definition.
Tensor gone_over(const Model& once, const Tensor& counterfactual, const Tensor& saliency,
                 double threshold, int64_t target) {
  const Tensor after =
      Explainer(once)
          .explain(counterfactual.unsqueeze(0), torch::full({1}, target, torch::kInt64))
          .counterfactual[0];
  const Tensor result = counterfactual.clone();
  for (int64_t y = 0; y < result.size(1); ++y)
    for (int64_t x = 0; x < result.size(2); ++x) {
      const double marked = saliency[0][y][x].item<double>() / threshold - 1;
      for (int64_t c = 0; c < 3; ++c)
        result[c][y][x] += std::clamp(marked, 0.0, 1.0) * (after[c][y][x] - result[c][y][x]);
    }
  return result;
}

/// Moves D's border between the two classes [0, 1] so that of the pairs of images [N,3,H,W] the one
/// whose logits' difference grows most from `before` to `after` has `difference` half way.
void move_border(Model& model, const Tensor& before, const Tensor& after, double difference) {
  torch::NoGradGuard no_grad;
  const auto margins = [&](const Tensor& images) {
    const Tensor logits = model.discriminator->forward(images);
    return logits.select(1, 0) - logits.select(1, 1);
  };
  const Tensor from = margins(before), to = margins(after);
  const int64_t most = (to - from).argmax().item<int64_t>();
  ASSERT_GT((to - from)[most].item<float>(), 0);
  const double middle = (from[most] + to[most]).item<double>() / 2;
  model.discriminator->named_parameters()["head.bias"][0] += difference - middle;
}

TEST(Explainer, GoesASecondTimeOverWhatDoesNotConvince) {
  const int64_t count = 24;
  const Tensor images = random_images(count);
  Model once = lively_model({"bad", "good"}, 1);
  once.thresholds.label_free = 0.25;
  once.config.explain.edge_radius = 0;  // noise is all edges
  once.thresholds.by_class = {0.2, kUndefined};
  const Explanation to_bad = Explainer(once).explain(images, torch::zeros({count}, torch::kInt64));
  std::vector<Tensor> over;
  for (int64_t i = 0; i < count; ++i)
    over.push_back(gone_over(once, to_bad.counterfactual[i], to_bad.saliency[i], 0.2, 0));
  move_border(once, to_bad.counterfactual, torch::stack(over), /*difference=*/0);
  Model twice = once;
  twice.config.explain.second_pass = true;
  const auto class_of = [&](const Tensor& image) {
    return Explainer(once).explain(image.unsqueeze(0)).predicted.item<int64_t>();
  };
  int convinced = 0, helped = 0, not_helped = 0;
  for (const int64_t target : {0, 1}) {
    const Tensor targets = torch::full({count}, target, torch::kInt64);
    const Explanation first = Explainer(once).explain(images, targets);
    // The mask's sensitivity is no matter of the counterfactual.
    const Explanation second = Explainer(twice, /*sensitivity=*/2).explain(images, targets);
    EXPECT_TRUE(torch::equal(second.predicted, first.predicted));
    for (int64_t i = 0; i < count; ++i) {
      // Towards "bad" that class decides, towards "good" the one that D sees.
      const bool is_bad = target == 0 || first.predicted[i].item<int64_t>() == 0;
      Tensor expected = first.counterfactual[i];
      if (class_of(expected) == target) {
        ++convinced;
      } else {
        const Tensor over =
            gone_over(once, expected, first.saliency[i], is_bad ? 0.2 : 0.25, target);
        const bool turns = class_of(over) == target;
        ++(turns ? helped : not_helped);
        if (turns) expected = over;
      }
      EXPECT_TRUE(torch::allclose(second.counterfactual[i], expected, 0, 1e-5));
      EXPECT_EQ(second.counterfactual_probs[i].argmax().item<int64_t>(), class_of(expected));
      const Tensor change =
          smooth((expected - images[i]).abs().mean(0).view({1, 1, 16, 16}), kSmoothing);
      EXPECT_TRUE(torch::allclose(second.saliency[i], change[0], 0, 1e-5));
    }
  }
  EXPECT_GT(convinced, 0);
  EXPECT_GT(helped, 0);
  EXPECT_GT(not_helped, 0);
}

/// `factor` times as far from an image as its counterfactual, both [3,H,W], by definition.
Tensor taken_further(const Tensor& image, const Tensor& counterfactual, double factor) {
  Tensor result = image.clone();
  for (int64_t c = 0; c < 3; ++c)
    for (int64_t y = 0; y < result.size(1); ++y)
      for (int64_t x = 0; x < result.size(2); ++x) {
        const double from = image[c][y][x].item<double>();
        const double change = counterfactual[c][y][x].item<double>() - from;
        result[c][y][x] = std::clamp(from + factor * change, 0.0, 1.0);
      }
  return result;
}

TEST(Explainer, TakesFurtherWhatDIsNotSureOf) {
  const int64_t count = 24;
  const Tensor images = random_images(count);
  Model once = lively_model({"bad", "good"}, 1);
  once.config.explain.edge_radius = 0;  // noise is all edges
  const Explanation to_bad = Explainer(once).explain(images, torch::zeros({count}, torch::kInt64));
  std::vector<Tensor> over;
  for (int64_t i = 0; i < count; ++i)
    over.push_back(taken_further(images[i], to_bad.counterfactual[i], 1.2));
  move_border(once, to_bad.counterfactual, torch::stack(over), std::log(0.8 / 0.2));
  Model far = once;
  far.config.explain.furthest = 1.5;  // two steps of 0.2, and not a third
  const auto sureness = [&](const Tensor& image, int64_t target) {
    return Explainer(once).explain(image.unsqueeze(0)).probs[0][target].item<double>();
  };
  int sure = 0, sure_after_one = 0, surer = 0, less_sure = 0;
  for (const int64_t target : {0, 1}) {
    const Tensor targets = torch::full({count}, target, torch::kInt64);
    const Explanation first = Explainer(once).explain(images, targets);
    const Explanation further = Explainer(far).explain(images, targets);
    EXPECT_TRUE(torch::equal(further.probs, first.probs));
    for (int64_t i = 0; i < count; ++i) {
      Tensor expected = first.counterfactual[i];
      double surest = sureness(expected, target);
      sure += surest >= 0.8;
      for (const double factor : {1.2, 1.4}) {
        if (surest >= 0.8) break;
        const Tensor there = taken_further(images[i], first.counterfactual[i], factor);
        const double now = sureness(there, target);
        ++(now > surest ? surer : less_sure);
        sure_after_one += now >= 0.8 && factor == 1.2;
        if (now > surest) expected = there;
        surest = std::max(now, surest);
      }
      EXPECT_TRUE(torch::allclose(further.counterfactual[i], expected, 0, 1e-5));
      EXPECT_NEAR(further.counterfactual_probs[i][target].item<double>(), surest, 1e-4);
      const Tensor change =
          smooth((expected - images[i]).abs().mean(0).view({1, 1, 16, 16}), kSmoothing);
      EXPECT_TRUE(torch::allclose(further.saliency[i], change[0], 0, 1e-5));
    }
  }
  EXPECT_GT(sure, 0);
  EXPECT_GT(sure_after_one, 0);
  EXPECT_GT(surer, sure_after_one);
  EXPECT_GT(less_sure, 0);
}

TEST(Explainer, LeavesCastsOutOfTheMapsOfAModelThatHasThem) {
  Model model = lively_model({"bad", "good"}, 1);
  const Tensor images = random_images(4);
  {
    torch::NoGradGuard no_grad;
    model.generator->named_parameters()["decoder.output.bias"] += 4;
  }
  const Explanation with = Explainer(model).explain(images);
  model.thresholds.without_cast = true;
  const Explanation without = Explainer(model).explain(images);
  EXPECT_TRUE(torch::equal(without.counterfactual, with.counterfactual));
  const auto map = [&](bool without_cast) {
    return refined(saliency_map(images, with.counterfactual, without_cast), images, 1);
  };
  EXPECT_TRUE(torch::allclose(with.saliency, map(false), 0, 1e-6));
  EXPECT_TRUE(torch::allclose(without.saliency, map(true), 0, 1e-6));
  EXPECT_GT((with.saliency - without.saliency).mean().item<double>(), 0.01);
}

TEST(Explainer, WithoutAThresholdThereIsNoSecondPass) {
  Model model = lively_model({"bad", "good"}, 1);
  const Tensor images = random_images(8);
  const Explanation first = Explainer(model).explain(images);
  model.config.explain.second_pass = true;
  const Explanation second = Explainer(model).explain(images);
  EXPECT_TRUE(torch::equal(second.counterfactual, first.counterfactual));
}

TEST(Explainer, HalfPrecisionChangesThePicturesALittleAndNoAnswer) {
  Model model = lively_model({"bad", "good"}, 1);
  model.config.explain.average_views = true;
  model.config.explain.second_pass = true;
  model.thresholds.label_free = 0.1;
  const Tensor images = random_images(8);
  const Explanation full = Explainer(model).explain(images);
  model.config.explain.generator_precision = Precision::kBFloat16;
  const Explanation half = Explainer(model).explain(images);
  EXPECT_TRUE(torch::equal(half.probs, full.probs));
  EXPECT_TRUE(torch::equal(half.fakeness, full.fakeness));
  EXPECT_TRUE(torch::equal(half.target, full.target));
  EXPECT_TRUE(torch::allclose(half.head_probs, full.head_probs, 0, 0.05));
  EXPECT_FALSE(torch::equal(half.counterfactual, full.counterfactual));
  EXPECT_TRUE(torch::allclose(half.counterfactual, full.counterfactual, 0, 0.05));
  EXPECT_EQ(half.counterfactual.scalar_type(), torch::kFloat32);
  EXPECT_LT((half.saliency - full.saliency).abs().mean().item<double>(), 0.003);
}

TEST(Explainer, AnExplanationKeepsNoMemory) {
  Model model = small_model({"bad", "good"}, 1);
  model.config.explain.generator_precision = Precision::kBFloat16;
  const Explainer explainer(model);
  const Tensor images = random_images(3);
  const LiveMemory memory;
  explainer.explain(images);
  const int64_t before = memory.bytes();
  {
    const Explanation held = explainer.explain(images);
    EXPECT_GT(memory.bytes(), before);  // what is counted is really counted
  }
  for (int i = 0; i < 10; ++i) explainer.explain(images);
  EXPECT_EQ(memory.bytes(), before);
}

TEST(Explainer, MarksNothingWhereTheReferenceClassIsPredicted) {
  Model model = lively_model({"bad", "good"}, 1);
  model.thresholds.label_free = 0.05;
  const Tensor images = random_images(8);
  const int64_t common =
      std::get<0>(Explainer(model).explain(images).predicted.mode()).item<int64_t>();
  model.reference_class = common;
  const Explanation as_good = Explainer(model).explain(images);
  EXPECT_EQ(as_good.mask.index({as_good.predicted == common}).sum().item<double>(), 0);
  model.reference_class = 1 - common;
  const Explanation as_defect = Explainer(model).explain(images);
  EXPECT_GT(as_defect.mask.index({as_defect.predicted == common}).sum().item<double>(), 0);
}

TEST(Explainer, TakesTheTargetsThatAreAskedFor) {
  const Explainer explainer(lively_model({"a", "b", "good"}, 2));
  const Tensor targets = torch::tensor(std::vector<int64_t>{0, 1, 2});
  const Tensor images = random_images(1).repeat({3, 1, 1, 1});
  const Explanation e = explainer.explain(images, targets);
  EXPECT_TRUE(torch::equal(e.target, targets));
  EXPECT_FALSE(torch::allclose(e.counterfactual[0], e.counterfactual[1]));
}

TEST(Explainer, RefusesWrongInput) {
  const Explainer explainer(small_model({"bad", "good"}, 1));
  const Tensor image = random_images(1);
  const auto message = [&](const Tensor& images, const Tensor& targets) {
    return message_of(ErrorCode::kArgument, [&] { explainer.explain(images, targets); });
  };
  EXPECT_NE(message(torch::zeros({1, 3, 15, 16}), {}), "");
  EXPECT_NE(message(torch::zeros({1, 1, 16, 16}), {}), "");
  EXPECT_NE(message(torch::zeros({0, 3, 16, 16}), {}), "");
  EXPECT_NE(message(image, torch::tensor(std::vector<int64_t>{2})), "");
  EXPECT_NE(message(image, torch::tensor(std::vector<int64_t>{-1})), "");
  EXPECT_NE(message(image, torch::tensor(std::vector<int64_t>{0, 1})), "");
  EXPECT_NE(message(image, torch::tensor({0.0f})), "");
  EXPECT_NE(message_of(ErrorCode::kArgument,
                       [] {
                         Explainer(small_model({"bad", "good"}, 1, ModelKind::kClassifier));
                       }),
            "");
}

TEST(Explainer, SensitivityDividesTheStoredThreshold) {
  Model model = small_model({"bad", "good"}, 1);
  EXPECT_DOUBLE_EQ(Explainer(model).mask_options().threshold, MaskOptions().threshold);
  model.thresholds.label_free = 0.3;
  EXPECT_DOUBLE_EQ(Explainer(model).mask_options().threshold, 0.3);
  EXPECT_DOUBLE_EQ(Explainer(model, 2.0).mask_options().threshold, 0.15);
  EXPECT_DOUBLE_EQ(Explainer(model, 1e9).mask_options().threshold, kMinThreshold);
  EXPECT_THROW(Explainer(model, 0.0), Error);
  EXPECT_THROW(Explainer(model, -1.0), Error);
}

TEST(Explainer, MarksEachClassAtItsOwnThreshold) {
  Model model = lively_model({"crack", "good", "stain"}, 1);
  model.thresholds.label_free = 0.2;
  model.thresholds.by_class = {0.05, kUndefined, kUndefined};
  const Explainer explainer(model, 0.5);
  EXPECT_DOUBLE_EQ(explainer.mask_options(0).threshold, 0.1);
  EXPECT_DOUBLE_EQ(explainer.mask_options(2).threshold, 0.4) << "that of all classes";

  const Tensor images = random_images(4);
  const Tensor saliency = explainer.explain(images).saliency;
  const Tensor classes = torch::tensor(std::vector<int64_t>{0, 1, 2, 0});
  const Tensor masks =
      saliency_to_mask(explainer.on_common_scale(saliency, classes), explainer.mask_options());
  for (int64_t i = 0; i < 4; ++i) {
    const MaskOptions rule = explainer.mask_options(classes[i].item<int64_t>());
    EXPECT_TRUE(torch::equal(masks[i], saliency_to_mask(saliency.slice(0, i, i + 1), rule)[0]));
  }
  EXPECT_FALSE(torch::equal(masks[0], saliency_to_mask(saliency, explainer.mask_options())[0]));
}

TEST(Explainer, FindsClassesByName) {
  const Explainer explainer(small_model({"bad", "good"}, 1));
  EXPECT_EQ(explainer.class_index("good"), 1);
  const std::string message =
      message_of(ErrorCode::kUsage, [&] { explainer.class_index("goood"); });
  EXPECT_NE(message.find("bad, good"), std::string::npos) << message;
}

TEST(Explainer, AnswersSeveralThreadsAtOnce) {
  const Explainer explainer(lively_model({"bad", "good"}, 1));
  const Tensor images = random_images(4);
  const Tensor expected = explainer.explain(images).counterfactual;
  std::vector<std::future<Tensor>> answers;
  for (int i = 0; i < 4; ++i)
    answers.push_back(
        std::async(std::launch::async, [&] { return explainer.explain(images).counterfactual; }));
  for (auto& answer : answers) EXPECT_TRUE(torch::allclose(answer.get(), expected, 1e-4, 1e-5));
}

}  // namespace
}  // namespace flipside::explainer_test
