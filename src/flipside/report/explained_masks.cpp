#include "flipside/report/explained_masks.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "flipside/core/error.h"
#include "flipside/core/log.h"
#include "flipside/data/image_io.h"
#include "flipside/eval/judge.h"
#include "flipside/eval/meters.h"
#include "flipside/explain/answer.h"
#include "flipside/explain/measure.h"
#include "flipside/explain/tiling.h"
#include "flipside/report/explained_image.h"

namespace flipside {
namespace {

/// Explains photographs and counts what their pictures are taken for, of those seen whole.
class PictureScores {
 public:
  /// `judge`: who says what is left of a defect; outlives this.
  PictureScores(const Explainer& explainer, const Model& judge)
      : explainer_(explainer), judge_(judge) {}

  /// What `explain` would write of an image.
  ExplainedImage add(const cv::Mat& image, const cv::Mat& truth);
  /// Fills in the shares.
  void put_into(ExplainedMaskScores& scores) const;

 private:
  Tensor input_of(const cv::Mat& picture) const {
    return network_input(explainer_, picture).unsqueeze(0);
  }
  /// `input`: [1,3,H,W].
  static bool is(const Tensor& input, int64_t label, const Model& by) {
    return real_class_probs(by, input).argmax(/*dim=*/1).item<int64_t>() == label;
  }
  /// Of an image that the judge takes for a defect. `mended`: it without its defect.
  void add_deletion(const cv::Mat& image, const cv::Mat& truth, const ExplainedImage& drawn,
                    const cv::Mat& mended);

  const Explainer& explainer_;
  const Model& judge_;
  int64_t images_ = 0, made_ = 0, written_ = 0;
  int64_t defects_ = 0, deleted_ = 0, deleted_by_truth_ = 0;
};

ExplainedImage PictureScores::add(const cv::Mat& image, const cv::Mat& truth) {
  const Model& model = explainer_.model();
  if (const auto scale = window_scale(model, image.size(), {}))
    return draw_explanation(explain_in_windows(explainer_, image, *scale), model.reference_class,
                            image);
  const Tensor input = input_of(image);
  const Explanation explanation = explainer_.explain(input, {}, Effort::kNoDoubt);
  ExplainedImage drawn = draw_explanation(explainer_, explanation, 0, image);
  const auto target = explanation.target.item<int64_t>();
  ++images_;
  made_ += explanation.counterfactual_probs.argmax(/*dim=*/1).item<int64_t>() == target;
  written_ += is(input_of(drawn.counterfactual), target, model);
  if (is(input, model.reference_class, judge_)) return drawn;
  if (target == model.reference_class) {
    add_deletion(image, truth, drawn, drawn.counterfactual);
  } else {  // a defect that was taken for good: nothing is marked
    const Tensor reference = torch::full({1}, model.reference_class, torch::kInt64);
    const Explanation asked = explainer_.explain(input, reference, Effort::kNoDoubt);
    add_deletion(image, truth, drawn, draw_explanation(explainer_, asked, 0, image).counterfactual);
  }
  return drawn;
}

void PictureScores::add_deletion(const cv::Mat& image, const cv::Mat& truth,
                                 const ExplainedImage& drawn, const cv::Mat& mended) {
  const auto is_good_without = [&](const cv::Mat& mask) {
    cv::Mat picture = image.clone();
    mended.copyTo(picture, mask);
    return is(input_of(picture), explainer_.model().reference_class, judge_);
  };
  ++defects_;
  deleted_ += is_good_without(drawn.mask);
  deleted_by_truth_ += is_good_without(truth);
}

void PictureScores::put_into(ExplainedMaskScores& scores) const {
  const auto share = [](int64_t count, int64_t whole) {
    return static_cast<double>(count) / static_cast<double>(whole);
  };
  scores.turned = share(made_, images_);
  scores.turned_as_written = share(written_, images_);
  scores.deletion = share(deleted_, defects_);
  scores.deletion_by_true_masks = share(deleted_by_truth_, defects_);
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
                                          Split split, const Model* judge) {
  if (judge) check_judge(*judge, explainer.model());
  const auto records = masked_defects(folder, split);
  MaskMeter meter;
  PictureScores pictures(explainer, judge ? *judge : explainer.model());
  std::vector<double> widths;
  Progress progress("original size", static_cast<int64_t>(records.size()), "img");
  for (const auto& record : records) {
    progress.advance(1);
    cv::Mat image, truth;
    try {
      image = read_image(record.image);
      truth = read_mask(record.mask, image.size());
    } catch (const Error& error) {
      if (error.code() != ErrorCode::kImage) throw;
      warn("{}; skipped", error.what());
      continue;
    }
    const ExplainedImage drawn = pictures.add(image, truth);
    meter.add(mask_to_tensor(drawn.mask).unsqueeze(0), mask_to_tensor(truth).unsqueeze(0));
    const double width = width_of(regions_of(drawn.defects));
    const double true_width = width_of(measure_regions(truth));
    if (width > 0 && true_width > 0) widths.push_back(width / true_width);
  }
  progress.finish();
  if (meter.images() == 0)
    fail(ErrorCode::kData, "{}: no defect of split {} can be read together with its mask",
         folder.root.string(), to_string(split));
  std::sort(widths.begin(), widths.end());
  ExplainedMaskScores scores;
  scores.images = meter.images();
  scores.iou = meter.iou();
  scores.mean_iou = meter.mean_iou();
  scores.f1 = meter.f1();
  scores.precision = meter.precision();
  scores.recall = meter.recall();
  scores.width = quantile(widths, 0.5);
  scores.width_low = quantile(widths, 0.25);
  scores.width_high = quantile(widths, 0.75);
  pictures.put_into(scores);
  return scores;
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
  if (!std::isnan(s.deletion))
    text += fmt::format(
        "  the mask alone, replaced in the photograph, turns {:.3f} of the defects (the true masks "
        "{:.3f})\n",
        s.deletion, s.deletion_by_true_masks);
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
                                {"turned_as_written", s.turned_as_written},
                                {"deletion", s.deletion},
                                {"deletion_by_true_masks", s.deletion_by_true_masks}}
      .dump();
}

}  // namespace flipside
