#include "flipside/explain/views.h"

#include <gtest/gtest.h>

#include <cmath>

#include "flipside/explain/explainer.h"
#include "flipside/explain/guided_filter.h"
#include "support/small_model.h"

namespace flipside::views_test {
namespace {

Config config_with(bool average, bool flip, bool turn) {
  Config config;
  config.explain.average_views = average;
  config.data.flip = flip;
  config.data.turn = turn;
  return config;
}

TEST(Views, AreThoseThatTrainingSaw) {
  EXPECT_EQ(views_of(config_with(true, true, true), /*square=*/true).size(), 8u);
  EXPECT_EQ(views_of(config_with(true, true, true), /*square=*/false).size(), 4u);
  EXPECT_EQ(views_of(config_with(true, false, true), /*square=*/true).size(), 4u);
  EXPECT_EQ(views_of(config_with(true, true, false), /*square=*/true).size(), 2u);
  EXPECT_EQ(views_of(config_with(true, false, false), /*square=*/true).size(), 1u);
  const auto alone = views_of(config_with(false, true, true), /*square=*/true);
  ASSERT_EQ(alone.size(), 1u);
  EXPECT_FALSE(alone[0].mirrored);
  EXPECT_EQ(alone[0].turns, 0);
}

TEST(Views, DifferAndAreUndone) {
  const Tensor image = torch::arange(9, torch::kFloat32).view({1, 1, 3, 3});
  const auto views = views_of(config_with(true, true, true), /*square=*/true);
  for (size_t i = 0; i < views.size(); ++i) {
    EXPECT_TRUE(torch::equal(views[i].undone(views[i].of(image)), image)) << i;
    for (size_t j = 0; j < i; ++j)
      EXPECT_FALSE(torch::equal(views[i].of(image), views[j].of(image))) << i << " and " << j;
  }
}

TEST(Views, MeanOfAFunctionThatKnowsUpFromDown) {
  torch::manual_seed(3);
  const Tensor ramp = torch::arange(16, torch::kFloat32).view({1, 1, 4, 4});
  const auto views = views_of(config_with(true, true, true), /*square=*/true);
  for (const int64_t n : {1, 3, 40}) {  // in one pass, in several, one for each view
    const Tensor images = torch::rand({n, 1, 4, 4});
    const Tensor mean =
        mean_over_views(views, images, [&](const Tensor& seen) { return seen * ramp; });
    // Each pixel meets the ramp's values at its eight places, slowly.
    Tensor slow = torch::zeros_like(images);
    for (const bool mirror : {false, true})
      for (int turns = 0; turns < 4; ++turns) {
        Tensor place = ramp.rot90(-turns, {2, 3});
        if (mirror) place = place.flip({3});
        slow += images * place / 8;
      }
    EXPECT_TRUE(torch::allclose(mean, slow, 1e-5, 1e-6)) << n;
  }
}

// Colours, maps of one channel and of more; squares and others; gradients, which take another way.
TEST(Views, MeanIsThatOfTheViewsOneByOne) {
  torch::manual_seed(3);
  for (const auto& size : {std::pair{6, 6}, {4, 7}})
    for (const int64_t channels : {1, 3, 5})
      for (const bool gradient : {false, true}) {
        const auto [height, width] = size;
        const auto views = views_of(config_with(true, true, true), height == width);
        Tensor images = torch::rand({2, channels, height, width}).requires_grad_(gradient);
        const Tensor ramp = torch::rand({1, channels, height, width});
        Tensor slow = torch::zeros_like(images);
        for (const View& view : views)
          slow = slow + view.undone(view.of(images) * ramp) / static_cast<double>(views.size());
        std::vector<Tensor> passes;
        const Tensor mean = mean_over_views(views, images, [&](const Tensor& seen) {
          passes.push_back(seen);
          return seen * ramp;
        });
        EXPECT_TRUE(mean.is_contiguous(kChannelsLast));
        EXPECT_TRUE(torch::allclose(mean, slow, 1e-5, 1e-6)) << channels << " " << height;
        ASSERT_EQ(passes.size(), 1u);
        for (size_t v = 0; v < views.size(); ++v)
          EXPECT_TRUE(torch::equal(passes[0].narrow(0, static_cast<int64_t>(2 * v), 2),
                                   views[v].of(images)))
              << v;
      }
}

TEST(Views, RefuseQuarterTurnsOfWhatIsNotSquare) {
  const auto views = views_of(config_with(true, true, true), /*square=*/true);
  const auto same = [](const Tensor& seen) { return seen; };
  EXPECT_THROW(mean_over_views(views, torch::rand({1, 3, 4, 6}), same), c10::Error);
}

TEST(Views, ExplanationsToTheReferenceClassTurnWithTheImage) {
  Model model = lively_model({"bad", "good"}, 1);
  torch::manual_seed(4);
  const Tensor images = torch::rand({3, 3, 16, 16}), turned = images.rot90(1, {2, 3}).contiguous();
  const Tensor targets = torch::tensor(std::vector<int64_t>{1, 0, 1});
  const auto counterfactual = [&](const Tensor& of) {
    return Explainer(model).explain(of, targets).counterfactual;
  };
  const auto turns_along = [&](int64_t row) {
    return torch::allclose(counterfactual(turned)[row],
                           counterfactual(images).rot90(1, {2, 3})[row], 1e-3, 1e-4);
  };
  EXPECT_FALSE(turns_along(0));
  const Tensor alone =
      Explainer(model).explain(images.slice(0, 1, 2), targets.slice(0, 1, 2)).counterfactual[0];
  model.config.explain.average_views = true;
  EXPECT_TRUE(turns_along(0));
  EXPECT_TRUE(turns_along(2));
  EXPECT_FALSE(turns_along(1));  // to a defect: as the image is
  EXPECT_TRUE(torch::equal(counterfactual(images)[1], alone));
}

TEST(Views, AnExplanationIsTheSlowMean) {
  torch::NoGradGuard no_grad;
  Model model = lively_model({"bad", "good"}, 1);
  model.config.explain.average_views = true;
  torch::manual_seed(4);
  const Tensor images = torch::rand({2, 3, 16, 16}), targets = torch::ones({2}, torch::kInt64);
  Tensor mean = torch::zeros_like(images);
  for (int turns = 0; turns < 4; ++turns) {
    const Tensor seen = images.rot90(turns, {2, 3}), mirrored = seen.flip({3});
    mean += model.generator->forward(seen, targets).counterfactual.rot90(-turns, {2, 3}) / 8;
    mean +=
        model.generator->forward(mirrored, targets).counterfactual.flip({3}).rot90(-turns, {2, 3}) /
        8;
  }
  const Explanation e = Explainer(model).explain(images, targets);
  EXPECT_TRUE(torch::allclose(e.counterfactual, mean, 1e-4, 1e-5));
  const Tensor change = (mean - images).abs().mean(1, true);
  EXPECT_TRUE(torch::allclose(e.saliency, refined(change, images, 1), 1e-4, 1e-5));
  const Tensor head = model.generator->classify(images).softmax(1);
  EXPECT_TRUE(torch::allclose(e.head_probs, head, 1e-4, 1e-5));  // of the images as they are
}

TEST(Views, EffortOnDefectsAloneLeavesTheOthersWithOneView) {
  Model model = lively_model({"bad", "good"}, 1);
  model.doubt_rule = DoubtRule{"views", 0.5, 0.9};
  torch::manual_seed(4);
  const Tensor images = torch::rand({16, 3, 16, 16}), targets = torch::ones({16}, torch::kInt64);
  {
    torch::NoGradGuard no_grad;  // half of the images are to be defects
    const Tensor logits = model.discriminator->forward(images);
    model.discriminator->parameters().back()[0] -=
        (logits.select(1, 0) - logits.select(1, 1)).median();
  }
  const Explanation single = Explainer(model).explain(images, targets);
  model.config.explain.average_views = true;
  const Explainer explainer(model);
  const Explanation all = explainer.explain(images, targets);
  const Explanation some = explainer.explain(images, targets, Effort::kDefects);
  EXPECT_TRUE(all.doubt.isfinite().all().item<bool>());
  const Explanation sure = explainer.explain(images, targets, Effort::kNoDoubt);
  EXPECT_FALSE(sure.doubt.defined());
  EXPECT_TRUE(torch::equal(sure.counterfactual, all.counterfactual));
  EXPECT_TRUE(torch::equal(sure.mask, all.mask));
  int64_t defects = 0;
  for (int64_t row = 0; row < images.size(0); ++row) {
    const bool is_defect = all.predicted[row].item<int64_t>() == 0;
    defects += is_defect ? 1 : 0;
    const Explanation& expected = is_defect ? all : single;
    EXPECT_TRUE(
        torch::allclose(some.counterfactual[row], expected.counterfactual[row], 1e-4, 1e-5));
    EXPECT_TRUE(torch::allclose(some.saliency[row], expected.saliency[row], 1e-4, 1e-5));
    EXPECT_TRUE(torch::allclose(some.head_probs[row], all.head_probs[row], 1e-4, 1e-5));
    const double doubt = some.doubt[row].item<double>();
    if (is_defect)
      EXPECT_NEAR(doubt, all.doubt[row].item<double>(), 1e-4);
    else
      EXPECT_TRUE(std::isnan(doubt));
  }
  EXPECT_GT(defects, 0);
  EXPECT_LT(defects, images.size(0));
  EXPECT_TRUE(torch::equal(some.mask, all.mask));
}

}  // namespace
}  // namespace flipside::views_test
