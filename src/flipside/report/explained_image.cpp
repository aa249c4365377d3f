#include "flipside/report/explained_image.h"

#include <cmath>
#include <functional>
#include <nlohmann/json.hpp>
#include <opencv2/imgproc.hpp>

#include "flipside/data/image_io.h"
#include "flipside/explain/mask_image.h"
#include "flipside/report/defect_table.h"
#include "flipside/report/pictures.h"
#include "flipside/report/result_json.h"

namespace flipside {
namespace {

using Json = nlohmann::ordered_json;

/// Everything about the mask; `class_of` names the class of a bounding box.
void add_mask(ExplainedImage& drawn, const cv::Mat& original, cv::Mat mask,
              const std::function<int64_t(const Box&)>& class_of) {
  drawn.mask = std::move(mask);
  drawn.overlay = overlay(original, drawn.mask);
  for (auto& region : measure_regions(drawn.mask))
    drawn.defects.push_back({region, class_of(region.box)});
  drawn.mask_area =
      static_cast<double>(cv::countNonZero(drawn.mask)) / static_cast<double>(drawn.mask.total());
}

double rounded(const Tensor& value) { return six_decimals(value.item<double>()); }

Json rectangle_json(const cv::Rect& box) {
  return {{"x", box.x}, {"y", box.y}, {"width", box.width}, {"height", box.height}};
}

Json boxes_json(const std::vector<Defect>& defects) {
  Json list = Json::array();
  for (const auto& defect : defects) list.push_back(box_json(defect.region.box));
  return list;
}

Json defects_json(const std::vector<Defect>& defects, const Model& model, double mm_per_pixel) {
  Json list = Json::array();
  for (const auto& defect : defects) {
    Json entry{{"number", list.size() + 1}, {"class", model.class_names.at(defect.label)}};
    for (const auto& [name, value] : named_measures(defect.region, mm_per_pixel))
      entry[name] = value == std::floor(value) ? Json(static_cast<int64_t>(value)) : Json(value);
    list.push_back(entry);
  }
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
  drawn.worst_window = cv::Rect({0, 0}, original.size());
  const cv::Mat seen = to_image(network_input(explainer, original));
  const cv::Mat map = enlarge_by_edges(to_float_map(explanation.saliency[row]), seen, original);
  drawn.counterfactual = enlarge_change(original, seen, to_image(explanation.counterfactual[row]));
  drawn.heatmap = heatmap(map);
  const auto predicted = explanation.predicted[row].item<int64_t>();
  cv::Mat mask = predicted != explainer.model().reference_class
                     ? mask_image(map, explainer.mask_options(predicted))
                     : cv::Mat::zeros(original.size(), CV_8UC1);
  add_mask(drawn, original, std::move(mask), [predicted](const Box&) { return predicted; });
  return drawn;
}

ExplainedImage draw_explanation(const WindowedExplanation& explanation, int64_t reference_class,
                                const cv::Mat& original) {
  const cv::Rect worst = explanation.windows.at(explanation.worst);
  // Each side by itself: rounding to whole pixels makes the two scales differ a little.
  const double scale_x = static_cast<double>(explanation.seen.cols) / original.cols;
  const double scale_y = static_cast<double>(explanation.seen.rows) / original.rows;
  const auto rounded_down = [](double value) { return static_cast<int>(std::floor(value)); };
  ExplainedImage drawn;
  drawn.scale = explanation.scale;
  drawn.windows = explanation.windows.size();
  const cv::Point corner(rounded_down(worst.x / scale_x), rounded_down(worst.y / scale_y));
  drawn.worst_window = cv::Rect(corner, cv::Point(rounded_down(worst.br().x / scale_x + 0.5),
                                                  rounded_down(worst.br().y / scale_y + 0.5))) &
                       cv::Rect({0, 0}, original.size());
  drawn.counterfactual = enlarge_change(original, explanation.seen, explanation.counterfactual);
  const auto map = [&](const cv::Mat& of_windows) {
    return enlarge_by_edges(of_windows, explanation.seen, original);
  };
  drawn.heatmap = heatmap(map(explanation.saliency));
  add_mask(
      drawn, original, mask_image(map(explanation.evidence), explanation.mask_options),
      [&](const Box& box) {
        return explanation.class_of(
            {static_cast<double>(box.x) * scale_x, static_cast<double>(box.y) * scale_y,
             static_cast<double>(box.width) * scale_x, static_cast<double>(box.height) * scale_y},
            reference_class);
      });
  return drawn;
}

std::string explanation_json(const std::string& image, const Model& model,
                             const Explanation& explanation, int64_t row,
                             const ExplainedImage& drawn, double mm_per_pixel) {
  const auto name = [&](const Tensor& label) { return model.class_names[label.item<int64_t>()]; };
  Json probabilities;
  for (int64_t k = 0; k < model.num_classes(); ++k)
    probabilities[model.class_names[k]] = rounded(explanation.probs[row][k]);
  const bool doubtful = explanation.doubt.defined();
  const Json line{
      {"image", image},
      {"predicted", name(explanation.predicted[row])},
      {"probabilities", probabilities},
      {"fakeness", rounded(explanation.fakeness[row])},
      {"doubt", doubtful ? Json(rounded(explanation.doubt[row])) : Json()},
      {"certain", doubtful ? Json(is_certain(model, explanation, row)) : Json()},
      {"head_predicted", name(explanation.head_probs[row].argmax())},
      {"target", name(explanation.target[row])},
      {"counterfactual_predicted", name(explanation.counterfactual_probs[row].argmax())},
      {"counterfactual_fakeness", rounded(explanation.counterfactual_fakeness[row])},
      {"scale", drawn.scale ? Json(*drawn.scale) : Json("fit")},
      {"windows", drawn.windows},
      {"worst_window", rectangle_json(drawn.worst_window)},
      {"mask_area", drawn.mask_area},
      {"boxes", boxes_json(drawn.defects)},
      {"defects", defects_json(drawn.defects, model, mm_per_pixel)}};
  return line.dump(-1, ' ', /*ensure_ascii=*/false, Json::error_handler_t::replace);
}

}  // namespace flipside
