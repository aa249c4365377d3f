#include "flipside/report/explained_image.h"

#include <cmath>
#include <nlohmann/json.hpp>
#include <opencv2/imgproc.hpp>

#include "flipside/data/image_io.h"
#include "flipside/report/pictures.h"

namespace flipside {
namespace {

using Json = nlohmann::ordered_json;

/// original + change, the change [3,S,S] in [-1,1] enlarged to the original's size. Its two signs
/// are enlarged as 8-bit images, which takes a quarter of the memory that floats would.
cv::Mat add_change(const cv::Mat& original, const Tensor& change) {
  cv::Mat result, gain, loss;
  cv::resize(to_image(change.clamp_min(0)), gain, original.size(), 0, 0, cv::INTER_LINEAR);
  cv::add(original, gain, result);
  gain.release();
  cv::resize(to_image(change.neg().clamp_min(0)), loss, original.size(), 0, 0, cv::INTER_LINEAR);
  cv::subtract(result, loss, result);
  return result;
}

double rounded(const Tensor& value) { return std::round(value.item<double>() * 1e6) / 1e6; }

Json box_json(const std::vector<Box>& boxes) {
  Json list = Json::array();
  for (const auto& box : boxes)
    list.push_back({{"x", box.x},
                    {"y", box.y},
                    {"width", box.width},
                    {"height", box.height},
                    {"area", box.area}});
  return list;
}

}  // namespace

Tensor network_input(const Explainer& explainer, const cv::Mat& image) {
  const auto side = static_cast<int>(explainer.model().config.data.size);
  return to_tensor(resize_image(image, cv::Size(side, side)));
}

ExplainedImage draw_explanation(const Explainer& explainer, const Explanation& explanation,
                                int64_t row, const cv::Mat& original) {
  ExplainedImage drawn;
  const Tensor seen = network_input(explainer, original);
  drawn.counterfactual = add_change(original, explanation.counterfactual[row] - seen);
  cv::Mat saliency;
  cv::resize(to_float_map(explanation.saliency[row]), saliency, original.size(), 0, 0,
             cv::INTER_LINEAR);
  drawn.heatmap = heatmap(saliency);
  const bool is_defect =
      explanation.predicted[row].item<int64_t>() != explainer.model().reference_class;
  drawn.mask =
      is_defect ? mask_at_size(explanation.saliency[row], original.size(), explainer.mask_options())
                : cv::Mat::zeros(original.size(), CV_8UC1);
  drawn.overlay = overlay(original, drawn.mask);
  drawn.boxes = mask_boxes(drawn.mask);
  drawn.mask_area =
      static_cast<double>(cv::countNonZero(drawn.mask)) / static_cast<double>(drawn.mask.total());
  return drawn;
}

std::string explanation_json(const std::string& image, const Model& model,
                             const Explanation& explanation, int64_t row,
                             const ExplainedImage& drawn) {
  const auto name = [&](const Tensor& label) { return model.class_names[label.item<int64_t>()]; };
  Json probabilities;
  for (int64_t k = 0; k < model.num_classes(); ++k)
    probabilities[model.class_names[k]] = rounded(explanation.probs[row][k]);
  const Json line{
      {"image", image},
      {"predicted", name(explanation.predicted[row])},
      {"probabilities", probabilities},
      {"fakeness", rounded(explanation.fakeness[row])},
      {"head_predicted", name(explanation.head_probs[row].argmax())},
      {"target", name(explanation.target[row])},
      {"counterfactual_predicted", name(explanation.counterfactual_probs[row].argmax())},
      {"counterfactual_fakeness", rounded(explanation.counterfactual_fakeness[row])},
      {"mask_area", drawn.mask_area},
      {"boxes", box_json(drawn.boxes)}};
  return line.dump(-1, ' ', /*ensure_ascii=*/false, Json::error_handler_t::replace);
}

}  // namespace flipside
