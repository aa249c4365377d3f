#include "flipside/explain/uncertainty.h"

#include <gtest/gtest.h>

#include <cmath>

#include "flipside/core/error.h"
#include "flipside/explain/explainer.h"
#include "support/small_model.h"
#include "support/temp_folder.h"

namespace flipside::uncertainty_test {
namespace {

TEST(DoubtScores, AgreeWithASlowLoop) {
  torch::NoGradGuard no_grad;
  for (const FakeHead head : {FakeHead::kSoftmax, FakeHead::kFactorised}) {
    Model model = lively_model({"a", "b", "good"}, 2);
    model.config.model.fake_head = head;
    model.config.explain.average_views = true;
    torch::manual_seed(5);
    const Tensor images = torch::rand({7, 3, 16, 16});
    const DoubtScores scores = doubt_scores(model, images);
    const Explainer explainer(model);
    Discriminator discriminator = model.discriminator;
    Generator generator = model.generator;
    for (int64_t i = 0; i < 7; ++i) {
      const Tensor x = images.slice(0, i, i + 1);
      const Tensor logits = discriminator->forward(x)[0].to(torch::kDouble);
      const Tensor p = logits.slice(0, 0, 3).softmax(0);
      const Tensor q = generator->classify(x)[0].to(torch::kDouble).softmax(0);
      double largest = 0, second = 0, entropy = 0, sum = 0, variation = 0;
      for (int64_t k = 0; k < 3; ++k) {
        const double pk = p[k].item<double>();
        if (pk > largest) {
          second = largest;
          largest = pk;
        } else {
          second = std::max(second, pk);
        }
        entropy -= pk * std::log(pk);
        sum += std::exp(logits[k].item<double>());
        variation += 0.5 * std::abs(pk - q[k].item<double>());
      }
      const double f = logits[3].item<double>();
      const double fake =
          head == FakeHead::kSoftmax ? std::exp(f) / (sum + std::exp(f)) : 1 / (1 + std::exp(-f));
      const Explanation there = explainer.explain(x);
      const Tensor changed = generator->forward(x, there.target).counterfactual;  // one view
      const Tensor back = generator->forward(changed, there.predicted).counterfactual;
      const auto near = [&](const char* name, double expected) {
        EXPECT_NEAR(scores.at(name)[i].item<double>(), expected, 1e-4 * (1 + std::abs(expected)))
            << name;
      };
      near("max_softmax", 1 - largest);
      near("entropy", entropy);
      near("margin", 1 - (largest - second));
      near("energy", -std::log(sum));
      near("fakeness", fake);
      near("fake_logit", f);
      near("joint", 1 - largest * (1 - fake));
      near("disagreement", variation);
      Tensor mean = torch::zeros({3}, torch::kDouble);
      for (int64_t view = 0; view < 8; ++view) {
        const Tensor facing = view < 4 ? x : x.flip({3});
        const Tensor seen = facing.rot90(view % 4, {2, 3});
        const Tensor logits_there = discriminator->forward(seen)[0].to(torch::kDouble);
        mean += logits_there.slice(0, 0, 3).softmax(0) / 8;
      }
      const Tensor answer = largest < 0.95 ? mean : p;
      near("answer", 1 - answer.max().item<double>());
      near("views", 1 - mean[answer.argmax()].item<double>());
      near("cycle_error", (back - x).abs().mean().item<double>());
    }
  }
}

TEST(DoubtScores, ClassifiersHaveThoseOfTheirClasses) {
  Model classifier = small_model({"bad", "good"}, 1, ModelKind::kClassifier);
  const Tensor images = torch::rand({2, 3, 16, 16});
  const auto single = doubt_scores(classifier, images).names;
  EXPECT_EQ(single, (std::vector<std::string>{"max_softmax", "entropy", "margin", "energy"}));
  // A rule that was stored when it was asked in several views holds for one.
  EXPECT_TRUE(torch::allclose(answer_score(classifier, "answer", images),
                              doubt_scores(classifier, images).at("max_softmax")));
  classifier.config.explain.average_views = true;
  const DoubtScores scores = doubt_scores(classifier, images);
  for (const auto& name : scores.names)
    EXPECT_TRUE(torch::equal(answer_score(classifier, name, images), scores.at(name))) << name;
  EXPECT_EQ(scores.names, (std::vector<std::string>{"max_softmax", "entropy", "margin", "energy",
                                                    "answer", "views"}));
  EXPECT_NE(message_of(ErrorCode::kArgument, [&] { scores.at("fakeness"); }), "");
  const Model segmenter = small_model({"bad", "good"}, 1, ModelKind::kSegmenter);
  EXPECT_NE(message_of(ErrorCode::kArgument,
                       [&] {
                         doubt_scores(segmenter, torch::rand({2, 3, 16, 16}));
                       }),
            "");
}

TEST(DoubtCombination, FindsTheScoreThatTells) {
  torch::manual_seed(8);
  const Tensor values =
      torch::randn({3000, 3}, torch::kDouble) * torch::tensor({1.0, 10.0, 0.1}, torch::kDouble);
  // Truth: sigmoid(1.5 s_0 - 1), s_0 standardised; the other two are noise.
  const Tensor wrong =
      torch::rand({3000}, torch::kDouble) < (1.5 * values.select(1, 0) - 1).sigmoid();
  const auto combination = DoubtCombination::fit(values, wrong);
  ASSERT_TRUE(combination.has_value());
  EXPECT_NEAR(combination->weights()[0].item<double>(), 1.5, 0.2);
  EXPECT_NEAR(combination->weights()[1].item<double>(), 0, 0.15);
  EXPECT_NEAR(combination->weights()[2].item<double>(), 0, 0.15);
  const Tensor p = (*combination)(values);
  // A free bias makes the mean probability the share of errors.
  EXPECT_NEAR(p.mean().item<double>(), wrong.to(torch::kDouble).mean().item<double>(), 1e-3);
}

TEST(DoubtCombination, StaysFiniteOnSeparableAndConstantScores) {
  const Tensor line = torch::arange(20, torch::kDouble);
  const Tensor values = torch::stack({line, torch::ones_like(line)}, 1);
  const auto combination = DoubtCombination::fit(values, line >= 10);
  ASSERT_TRUE(combination.has_value());
  const Tensor p = (*combination)(values);
  EXPECT_TRUE(p.isfinite().all().item<bool>());
  EXPECT_GT(p[15].item<double>(), 0.5);
  EXPECT_LT(p[5].item<double>(), 0.5);
  EXPECT_FALSE(DoubtCombination::fit(values, line >= 19).has_value());
}

}  // namespace
}  // namespace flipside::uncertainty_test
