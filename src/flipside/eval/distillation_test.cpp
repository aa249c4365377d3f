#include "flipside/eval/distillation.h"

#include <gtest/gtest.h>

#include "flipside/data/loader.h"
#include "flipside/eval/model_folder.h"
#include "flipside/explain/explainer.h"
#include "support/noise_data.h"
#include "support/small_model.h"

namespace flipside::distillation_test {
namespace {

class Distillation : public testing::Test {
 protected:
  Distillation() : teacher_(lively_model({"bad", "good"}, 1)) {
    write_noise_data(root_.path(), {"bad", "good"}, /*per_class=*/4);
    teacher_.config.explain.average_views = true;
    teacher_.config.train.batch = 4;
    teacher_.config.train.lr_generator = 3e-3;
    teacher_.config.data.workers = 0;
    teacher_.config.data.warp_fraction = 0;
    teacher_.config.data.gain = teacher_.config.data.offset = 0;
    teacher_.thresholds.label_free = 0.25;
    images_ = EvalLoader(scan(), Split::kTrain, teacher_.config.data, 8).read({0, 1, 2, 3}).images;
  }
  ImageFolder scan() const { return scan_for_model(root_.path(), teacher_); }
  /// Of the training's defects, turned good.
  Tensor counterfactuals(const Model& model) const {
    return Explainer(model).explain(images_, torch::ones({4}, torch::kInt64)).counterfactual;
  }
  static double distance(const Tensor& a, const Tensor& b) {
    return (a - b).square().mean().sqrt().item<double>();
  }

  TempFolder root_;
  Model teacher_;
  Tensor images_;
};

TEST_F(Distillation, OnePassComesNearTheMeanOverTheViews) {
  const Tensor mean = counterfactuals(teacher_);
  Model single = teacher_;
  single.config.explain.average_views = false;
  const double before = distance(counterfactuals(single), mean);
  const Model student = distil(teacher_, scan(), {/*steps=*/128, /*seed=*/1});
  EXPECT_TRUE(student.config.explain.one_pass);
  const Tensor once = counterfactuals(student);
  EXPECT_LT(distance(once, mean), 0.5 * before);
  Generator generator = student.generator;
  const Tensor targets = torch::ones({4}, torch::kInt64);
  EXPECT_TRUE(torch::equal(once, generator->forward(images_, targets).counterfactual));
  EXPECT_EQ(student.thresholds.label_free, 0.25);
}

TEST_F(Distillation, LeavesTeacherAndDiscriminatorAlone) {
  const Model before = copied(teacher_);
  const Model student = distil(teacher_, scan(), {/*steps=*/3, /*seed=*/1});
  const TensorMap was = model_tensors(before), is = model_tensors(teacher_),
                  learned = model_tensors(student);
  bool changed = false;
  for (const auto& [name, tensor] : was) {
    EXPECT_TRUE(torch::equal(tensor, is.at(name))) << name;
    if (name.rfind("discriminator.", 0) == 0)
      EXPECT_TRUE(torch::equal(tensor, learned.at(name))) << name;
    else
      changed = changed || !torch::equal(tensor, learned.at(name));
  }
  EXPECT_TRUE(changed);
  EXPECT_FALSE(teacher_.config.explain.one_pass);
}

TEST_F(Distillation, TheSeedDecides) {
  const auto weights = [&](uint64_t seed) {
    const Model student = distil(teacher_, scan(), {/*steps=*/5, seed});
    return torch::cat([&] {
      std::vector<Tensor> flat;
      for (const auto& parameter : student.generator->parameters())
        flat.push_back(parameter.detach().flatten());
      return flat;
    }());
  };
  const Tensor once = weights(1);
  EXPECT_TRUE(torch::equal(once, weights(1)));
  EXPECT_FALSE(torch::equal(once, weights(2)));
}

TEST_F(Distillation, RefusesWhatHasNothingToLearn) {
  const auto complaint = [&](const Model& model) {
    return message_of(ErrorCode::kUsage, [&] { distil(model, scan(), {}); });
  };
  Model one_view = teacher_;
  one_view.config.data.flip = one_view.config.data.turn = false;
  EXPECT_NE(complaint(one_view).find("in one pass already"), std::string::npos);
  Model learned = teacher_;
  learned.config.explain.one_pass = true;
  EXPECT_NE(complaint(learned).find("in one pass already"), std::string::npos);
  const Model classifier = small_model({"bad", "good"}, 1, ModelKind::kClassifier);
  EXPECT_NE(message_of(ErrorCode::kArgument, [&] { distil(classifier, scan(), {}); })
                .find("makes no counterfactuals"),
            std::string::npos);
}

}  // namespace
}  // namespace flipside::distillation_test
