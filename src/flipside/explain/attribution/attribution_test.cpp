#include "flipside/explain/attribution/attribution.h"

#include <gtest/gtest.h>

#include "flipside/explain/attribution/cam.h"
#include "flipside/explain/attribution/gradients.h"
#include "support/small_model.h"
#include "support/temp_folder.h"

namespace flipside::attribution_test {
namespace {

AttributionOptions quick() {
  AttributionOptions options;
  options.steps = 4;
  options.samples = 3;
  options.masks = 10;
  options.window = 0.25;
  return options;
}

Tensor random_images(int64_t count = 3) {
  torch::manual_seed(5);
  return torch::rand({count, 3, 16, 16});
}

Tensor class_numbers(std::vector<int64_t> classes) { return torch::tensor(classes); }

TEST(Attribution, EveryMethodExplainsBothKindsOfNetwork) {
  const Tensor images = random_images();
  const Tensor classes = class_numbers({0, 1, 0});
  for (const ModelKind kind : {ModelKind::kCounterfactual, ModelKind::kClassifier}) {
    const Model model = small_model({"bad", "good"}, 1, kind);
    for (const auto method : all_methods()) {
      if (!is_attribution(method)) continue;
      const auto maps = attribute(method, model.discriminator, images, classes, quick());
      for (const Sign sign : {Sign::kPositive, Sign::kNegative, Sign::kAbsolute}) {
        const Tensor& map = maps.of(sign);
        ASSERT_EQ(map.sizes(), (std::vector<int64_t>{3, 1, 16, 16})) << to_string(method);
        EXPECT_GE(map.min().item<double>(), 0) << to_string(method);
        EXPECT_TRUE(torch::isfinite(map).all().item<bool>()) << to_string(method);
      }
      EXPECT_GT(maps.absolute.sum().item<double>(), 0) << to_string(method);
      // An image's map does not depend on the others of its batch, nor on the run.
      const auto alone = attribute(method, model.discriminator, images.slice(0, 1, 2),
                                   classes.slice(0, 1, 2), quick());
      EXPECT_TRUE(torch::allclose(alone.absolute, maps.absolute.slice(0, 1, 2), 1e-3, 1e-5))
          << to_string(method);
    }
  }
}

TEST(Attribution, SignsAreThePartsOfTheSignedMap) {
  Model model = lively_model({"bad", "good"}, 1);
  const Tensor images = random_images();
  const Tensor classes = class_numbers({0, 1, 0});
  const Scorer score = class_score(model.discriminator, classes);
  const Tensor signed_map = input_x_gradient(score, images);
  const Tensor sum = signed_map.sum(1, true);
  auto maps =
      attribute(AttributionMethod::kInputXGradient, model.discriminator, images, classes, {});
  EXPECT_TRUE(torch::allclose(maps.positive, sum.relu(), 1e-4, 1e-6));
  EXPECT_TRUE(torch::allclose(maps.negative, (-sum).relu(), 1e-4, 1e-6));
  EXPECT_TRUE(torch::allclose(maps.absolute, signed_map.abs().sum(1, true), 1e-4, 1e-6));

  // Grad-CAM is odd in the gradient, so its two parts are those of one map.
  AttributionOptions options;
  options.layer = 0;  // at full size: nothing is enlarged
  const auto level = level_gradient(model.discriminator, images, classes, 0);
  const Tensor cam = grad_cam(level.activations, level.gradients);
  maps = attribute(AttributionMethod::kGradCam, model.discriminator, images, classes, options);
  EXPECT_TRUE(torch::allclose(maps.positive, cam.relu(), 1e-4, 1e-6));
  EXPECT_TRUE(torch::allclose(maps.negative, (-cam).relu(), 1e-4, 1e-6));
  EXPECT_TRUE(torch::allclose(maps.absolute, cam.abs(), 1e-4, 1e-6));
  // LayerCAM is not: its negative map is that of the negated score.
  maps = attribute(AttributionMethod::kLayerCam, model.discriminator, images, classes, options);
  EXPECT_TRUE(torch::allclose(maps.negative, layer_cam(level.activations, -level.gradients).relu(),
                              1e-4, 1e-6));
}

TEST(Attribution, ExplainsTheClassOfEachImage) {
  const Model model = lively_model({"bad", "good"}, 1);
  const Tensor image = random_images(1);
  const auto map = [&](const Tensor& images, std::vector<int64_t> classes) {
    return attribute(AttributionMethod::kInputXGradient, model.discriminator, images,
                     class_numbers(std::move(classes)))
        .positive;
  };
  const Tensor both = map(image.repeat({2, 1, 1, 1}), {0, 1});
  EXPECT_TRUE(torch::allclose(both.slice(0, 0, 1), map(image, {0}), 1e-4, 1e-6));
  EXPECT_TRUE(torch::allclose(both.slice(0, 1, 2), map(image, {1}), 1e-4, 1e-6));
  EXPECT_FALSE(torch::allclose(both[0], both[1]));
}

TEST(Attribution, NamesAndMethodsGoBothWays) {
  EXPECT_EQ(all_methods().size(), 10u);
  for (const auto method : all_methods()) EXPECT_EQ(method_named(to_string(method)), method);
  EXPECT_EQ(method_named("grad_cam_pp"), AttributionMethod::kGradCamPlusPlus);
  EXPECT_NE(message_of(ErrorCode::kUsage, [] { method_named("magic"); }).find("layer_cam"),
            std::string::npos);
  EXPECT_EQ(sign_named("negative"), Sign::kNegative);
  EXPECT_NE(message_of(ErrorCode::kUsage, [] { sign_named("both"); }), "");
}

TEST(Attribution, RefusesWhatDoesNotFit) {
  const Model model = small_model({"bad", "good"}, 1, ModelKind::kClassifier);
  const auto refused = [&](AttributionMethod method, const Tensor& images, const Tensor& classes) {
    return message_of(ErrorCode::kArgument,
                      [&] { attribute(method, model.discriminator, images, classes); });
  };
  const auto method = AttributionMethod::kGradCam;
  EXPECT_NE(refused(method, random_images(2), class_numbers({0, 2})), "");
  EXPECT_NE(refused(method, random_images(2), class_numbers({0})), "");
  EXPECT_NE(refused(method, random_images(2).slice(3, 0, 15), class_numbers({0, 1})), "");
  EXPECT_NE(refused(AttributionMethod::kDarkness, random_images(2), class_numbers({0, 1})), "");
}

TEST(RelativeMap, DividesEachMapByItsMaximum) {
  const Tensor maps = torch::tensor({1.0f, 4.0f, 0.0f, 0.0f}).view({2, 1, 1, 2});
  EXPECT_TRUE(torch::equal(relative_map(maps),
                           torch::tensor({0.25f, 1.0f, 0.0f, 0.0f}).view({2, 1, 1, 2})));
}

}  // namespace
}  // namespace flipside::attribution_test
