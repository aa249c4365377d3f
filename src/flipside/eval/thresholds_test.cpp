// How the thresholds of masks are chosen (thresholds.cpp).

#include <gtest/gtest.h>

#include <cmath>

#include "flipside/eval/evaluator.h"
#include "flipside/eval/meters.h"
#include "flipside/eval/model_folder.h"
#include "flipside/explain/guided_filter.h"
#include "support/noise_data.h"
#include "support/result_files.h"
#include "support/small_model.h"

namespace flipside::thresholds_test {
namespace {

class ThresholdsTest : public testing::Test {
 protected:
  void SetUp() override { write_noise_data(root_.path(), {"crack", "intact"}, 5); }
  ImageFolder scan(const Model& model) const { return scan_for_model(root_.path(), model); }
  static Tensor read(const fs::path& path) { return to_tensor(read_image(path)).unsqueeze(0); }
  static Tensor class_number(int64_t label) { return torch::full({1}, label, torch::kInt64); }

  TempFolder root_;
};

TEST_F(ThresholdsTest, CastsAreLeftOutWhereMostCounterfactualsHaveThem) {
  const ImageFolder folder = scan(lively_model({"crack", "intact"}, 1));
  // What the output's weights are multiplied with, what is added to its raw values, and whether
  // that is a cast with changes besides.
  struct Case {
    double spread, shift;
    bool is_cast;
  };
  for (const Case& made : {Case{1, 0, false}, Case{1, 4, true}, Case{0, 0.1, false}}) {
    const Model model = lively_model({"crack", "intact"}, 1);
    {
      torch::NoGradGuard no_grad;
      auto weights = model.generator->named_parameters();
      weights["decoder.output.weight"] *= made.spread;
      weights["decoder.output.bias"] += made.shift;
      if (made.spread == 0) weights["decoder.output.bias"][3] += 8;  // the attention
    }
    const Explainer explainer(model);
    const Thresholds thresholds = choose_thresholds(explainer, folder);
    EXPECT_EQ(thresholds.without_cast, made.is_cast) << made.spread << ", " << made.shift;
    std::vector<Tensor> pooled;
    for (const auto& record : folder.split(Split::kVal)) {
      if (record.label == model.reference_class) continue;
      const Tensor image = read(record.image);
      const Tensor changed = explainer.explain(image, class_number(1)).counterfactual;
      pooled.push_back(refined(saliency_map(image, changed, made.is_cast), image, 1));
    }
    const Tensor values = torch::cat(pooled).flatten();
    EXPECT_NEAR(thresholds.label_free,
                otsu_threshold(values.masked_select(values >= kVisibleChange)), 0.005);
  }
}

TEST_F(ThresholdsTest, ChoosesThresholdsOnValidationDataAlone) {
  const Model model = lively_model({"crack", "intact"}, 1);
  const Explainer explainer(model);
  const ImageFolder folder = scan(model);
  const Thresholds thresholds = choose_thresholds(explainer, folder);

  std::vector<Tensor> pooled, truths;
  for (const auto& record : folder.split(Split::kVal)) {
    if (record.label == model.reference_class) continue;
    pooled.push_back(explainer.explain(read(record.image), class_number(1)).saliency);
    truths.push_back(mask_to_tensor(read_mask(record.mask)).unsqueeze(0));
  }
  ASSERT_EQ(pooled.size(), 5u);
  const Tensor values = torch::cat(pooled).flatten();
  const Tensor visible = values.masked_select(values >= kVisibleChange);
  ASSERT_LT(visible.numel(), values.numel());
  EXPECT_NEAR(thresholds.label_free, otsu_threshold(visible), 0.005);
  ASSERT_EQ(thresholds.by_class.size(), 2u);
  EXPECT_EQ(thresholds.by_class[0], thresholds.label_free) << "the only defect class";
  EXPECT_TRUE(std::isnan(thresholds.by_class[1]));
  const auto iou_at = [&](double threshold) {
    MaskMeter meter;
    for (size_t i = 0; i < pooled.size(); ++i) meter.add(pooled[i] >= threshold, truths[i]);
    return meter.iou();
  };
  double best = 0;
  for (int edge = 1; edge < 100; ++edge) best = std::max(best, iou_at(edge / 100.0));
  EXPECT_GE(iou_at(thresholds.tuned), best - 1e-3);

  // Without masks the label-free threshold is the same; test images never enter.
  fs::remove_all(root_ / "val/masks");
  fs::remove_all(root_ / "test");
  for (const std::string name : {"crack/0.png", "intact/0.png"})
    write_image(root_ / "test" / name, noise_image({16, 16}, 77));
  const Thresholds again = choose_thresholds(explainer, scan(model));
  EXPECT_NEAR(again.label_free, thresholds.label_free, 1e-3);
  EXPECT_TRUE(std::isnan(again.tuned));
}

}  // namespace
}  // namespace flipside::thresholds_test
