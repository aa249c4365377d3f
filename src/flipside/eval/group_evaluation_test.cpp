// A group of processes gives the answers of one. Threads stand for processes here.

#include <gtest/gtest.h>

#include "flipside/eval/doubt.h"
#include "flipside/eval/evaluator.h"
#include "flipside/eval/model_folder.h"
#include "support/group.h"
#include "support/noise_data.h"
#include "support/small_model.h"

namespace flipside::group_evaluation_test {
namespace {

void expect_close(const Tensor& a, const Tensor& b) {
  EXPECT_TRUE(torch::allclose(a.to(torch::kDouble), b.to(torch::kDouble), 1e-4, 1e-5));
}

TEST(GroupEvaluation, ExplanationsAreThoseOfOneProcess) {
  Model model = lively_model({"bad", "good"}, 1);
  model.thresholds.label_free = 0.1;
  model.doubt_rule = DoubtRule{"entropy", 0.5, 0.9};
  torch::manual_seed(5);
  const Tensor images = torch::rand({5, 3, 16, 16});
  const Tensor targets = torch::tensor({0, 1, 1, 0, 1}, torch::kInt64);
  for (const int64_t count : {5, 1})  // one image leaves a process idle
    for (const Tensor& wanted : {Tensor(), targets.slice(0, 0, count)}) {
      const Tensor some = images.slice(0, 0, count);
      const Explanation expected = Explainer(model).explain(some, wanted);
      in_group(2, [&](const ProcessGroup& group) {
        const Explanation e = Explainer(model, 1.0, group).explain(some, wanted);
        expect_close(e.probs, expected.probs);
        expect_close(e.fakeness, expected.fakeness);
        expect_close(e.head_probs, expected.head_probs);
        expect_close(e.counterfactual, expected.counterfactual);
        expect_close(e.counterfactual_probs, expected.counterfactual_probs);
        expect_close(e.counterfactual_fakeness, expected.counterfactual_fakeness);
        expect_close(e.doubt, expected.doubt);
        expect_close(e.saliency, expected.saliency);
        EXPECT_EQ(e.mask.sizes(), expected.mask.sizes());
        EXPECT_TRUE(torch::equal(e.predicted, expected.predicted));
        EXPECT_TRUE(torch::equal(e.target, expected.target));
      });
    }
}

TEST(GroupEvaluation, ScoresAndRulesAreThoseOfOneProcess) {
  const TempFolder root;
  write_noise_data(root.path(), {"bad", "good"}, /*per_class=*/7);
  for (const auto kind :
       {ModelKind::kCounterfactual, ModelKind::kClassifier, ModelKind::kSegmenter}) {
    Model model = kind == ModelKind::kCounterfactual ? lively_model({"bad", "good"}, 1)
                                                     : small_model({"bad", "good"}, 1, kind);
    const ImageFolder folder = scan_for_model(root.path(), model);
    model.doubt_rule = choose_doubt_rule(model, folder, 0.8);
    EvaluateOptions options;
    options.batch = 5;
    options.everything = false;
    const Results expected = evaluate(model, folder, options);
    in_group(3, [&](const ProcessGroup& group) {
      const auto rule = choose_doubt_rule(model, folder, 0.8, group);
      ASSERT_EQ(rule.has_value(), model.doubt_rule.has_value());
      if (rule) {
        EXPECT_EQ(rule->score, model.doubt_rule->score);
        EXPECT_NEAR(rule->threshold, model.doubt_rule->threshold, 1e-5);
      }
      EvaluateOptions shared = options;
      shared.group = group;
      const Results results = evaluate(model, folder, shared);
      EXPECT_EQ(results.images, expected.images);
      EXPECT_EQ(results.confusion, expected.confusion);
      EXPECT_EQ(results.flips.size(), expected.flips.size());
      for (size_t i = 0; i < results.flips.size(); ++i)
        EXPECT_EQ(results.flips[i].by_discriminator, expected.flips[i].by_discriminator);
      ASSERT_EQ(results.pixel_average_precision.has_value(),
                expected.pixel_average_precision.has_value());
      if (results.pixel_average_precision) {
        EXPECT_NEAR(*results.pixel_average_precision, *expected.pixel_average_precision, 0.01);
      }
    });
  }
}

}  // namespace
}  // namespace flipside::group_evaluation_test
