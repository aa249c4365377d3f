#include "flipside/report/explained_masks.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "flipside/core/error.h"
#include "flipside/core/log.h"
#include "flipside/data/image_io.h"
#include "flipside/eval/class_maps.h"
#include "flipside/eval/meters.h"
#include "flipside/explain/measure.h"
#include "flipside/explain/tiling.h"
#include "flipside/report/explained_image.h"

namespace flipside {
namespace {

/// How many counterfactuals are taken for their target class.
struct TurnCount {
  int64_t images = 0, made = 0, written = 0;
};

/// What `explain` would write of an image; its counterfactual is counted where it is seen whole.
ExplainedImage explained(const Explainer& explainer, const cv::Mat& image, TurnCount& turns) {
  const Model& model = explainer.model();
  if (const auto scale = window_scale(model, image.size(), {}))
    return draw_explanation(explain_in_windows(explainer, image, *scale), model.reference_class,
                            image);
  const Tensor input = network_input(explainer, image).unsqueeze(0);
  const Explanation explanation = explainer.explain(input, {}, Effort::kNoDoubt);
  ExplainedImage drawn = draw_explanation(explainer, explanation, 0, image);
  const Tensor seen_anew = network_input(explainer, drawn.counterfactual).unsqueeze(0);
  const auto is_target = [&](const Tensor& probs) {
    return torch::equal(probs.argmax(/*dim=*/1), explanation.target);
  };
  ++turns.images;
  turns.made += is_target(explanation.counterfactual_probs);
  turns.written += is_target(real_class_probs(model, seen_anew));
  return drawn;
}

/// Area over length of all regions; 0 for none.
double width_of(const std::vector<Region>& regions) {
  double area = 0, length = 0;
  for (const auto& region : regions) {
    area += static_cast<double>(region.box.area);
    length += region.length;
  }
  return length > 0 ? area / length : 0;
}

std::vector<Region> regions_of(const std::vector<Defect>& defects) {
  std::vector<Region> regions;
  for (const auto& defect : defects) regions.push_back(defect.region);
  return regions;
}

/// The value that `share` of the sorted ones lie below.
double quantile(const std::vector<double>& sorted, double share) {
  if (sorted.empty()) return std::nan("");
  return sorted[static_cast<size_t>(share * static_cast<double>(sorted.size() - 1) + 0.5)];
}

std::vector<ImageRecord> masked_defects(const ImageFolder& folder, Split split) {
  if (folder.pack)
    fail(ErrorCode::kUsage,
         "{}: a packed data set holds no photographs of their own size; give the folder that it "
         "was made from",
         folder.root.string());
  std::vector<ImageRecord> records;
  for (const auto& record : folder.split(split))
    if (record.label != folder.reference_class && !record.mask.empty()) records.push_back(record);
  if (records.empty())
    fail(ErrorCode::kData, "{}: no defect of split {} has a mask to compare with",
         folder.root.string(), to_string(split));
  return records;
}

}  // namespace

ExplainedMaskScores score_explained_masks(const Explainer& explainer, const ImageFolder& folder,
                                          Split split) {
  const auto records = masked_defects(folder, split);
  MaskMeter meter;
  TurnCount turns;
  std::vector<double> widths;
  Progress progress("original size", static_cast<int64_t>(records.size()), "img");
  for (const auto& record : records) {
    const cv::Mat image = read_image(record.image);
    const cv::Mat truth = read_mask(record.mask, image.size());
    const ExplainedImage drawn = explained(explainer, image, turns);
    meter.add(mask_to_tensor(drawn.mask).unsqueeze(0), mask_to_tensor(truth).unsqueeze(0));
    const double width = width_of(regions_of(drawn.defects));
    const double true_width = width_of(measure_regions(truth));
    if (width > 0 && true_width > 0) widths.push_back(width / true_width);
    progress.advance(1);
  }
  progress.finish();
  std::sort(widths.begin(), widths.end());
  const auto share = [&](int64_t count) {
    return static_cast<double>(count) / static_cast<double>(turns.images);
  };
  return {meter.images(),        meter.iou(),       meter.mean_iou(),      meter.f1(),
          meter.precision(),     meter.recall(),    quantile(widths, 0.5), quantile(widths, .25),
          quantile(widths, .75), share(turns.made), share(turns.written)};
}

std::string to_text(const ExplainedMaskScores& s) {
  std::string text = fmt::format(
      "masks as explain writes them, at the size of {} photographs of defects\n"
      "  IoU {:.3f} (mean of images {:.3f}), F1 {:.3f}, precision {:.3f}, recall {:.3f}\n",
      s.images, s.iou, s.mean_iou, s.f1, s.precision, s.recall);
  if (!std::isnan(s.width))
    text +=
        fmt::format("  {:.2f} times as wide as the true masks (half of them {:.2f} to {:.2f})\n",
                    s.width, s.width_low, s.width_high);
  if (!std::isnan(s.turned))
    text += fmt::format(
        "  counterfactuals taken for their target class: {:.3f} as the networks made them, "
        "{:.3f} as written\n",
        s.turned, s.turned_as_written);
  return text;
}

std::string to_json(const ExplainedMaskScores& s) {
  return nlohmann::ordered_json{{"images", s.images},  // NaN becomes null
                                {"iou", s.iou},
                                {"mean_iou", s.mean_iou},
                                {"f1", s.f1},
                                {"precision", s.precision},
                                {"recall", s.recall},
                                {"width", s.width},
                                {"width_quartiles", {s.width_low, s.width_high}},
                                {"turned", s.turned},
                                {"turned_as_written", s.turned_as_written}}
      .dump();
}

}  // namespace flipside
