#include "flipside/report/validation.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <optional>

#include "flipside/core/device.h"
#include "flipside/core/log.h"
#include "flipside/data/loader.h"
#include "flipside/eval/calibration.h"
#include "flipside/eval/flaws.h"
#include "flipside/eval/model_folder.h"
#include "flipside/report/sample_pictures.h"

namespace flipside {
namespace {

constexpr int64_t kPicturesPerClass = 4;

/// The first images of each class of the split, as one batch.
Batch sample_batch(const ImageFolder& folder, const DataConfig& config) {
  std::vector<int64_t> taken(folder.num_classes());
  std::vector<Tensor> images, labels, masks;
  EvalLoader loader(folder, Split::kVal, config, /*batch=*/1);
  for (Batch one; loader.next(one);) {
    int64_t& count = taken[one.labels.item<int64_t>()];
    if (count++ >= kPicturesPerClass) continue;
    images.push_back(one.images);
    labels.push_back(one.labels);
    masks.push_back(one.masks.defined() ? one.masks.nan_to_num(0.0)
                                        : torch::zeros_like(one.images.slice(1, 0, 1)));
  }
  return {torch::cat(images).contiguous(kChannelsLast), torch::cat(labels), torch::cat(masks), {}};
}

/// The images to validate on: few enough to be measured often, and read but once.
ImageFolder validation_images(const ImageFolder& folder, const Config& config) {
  ImageFolder chosen = thinned(folder, Split::kVal, config.train.validation_images);
  const size_t all = folder.split(Split::kVal).size(), left = chosen.split(Split::kVal).size();
  if (left < all) info("validation on {} of {} images (validation_images)", left, all);
  keep_pictures(chosen, Split::kVal, config.data);
  return chosen;
}

/// How much flips count: in full up to `kFalseMarks`, not at all where good images are marked like
/// defects (a generator that paints whatever it sees flips as well) or nothing is marked.
double weight_of_flips(double false_marks) {
  if (std::isnan(false_marks)) return 0;
  return std::clamp((1 - false_marks) / (1 - kFalseMarks), 0.0, 1.0);
}

ValidationScores score_counterfactuals(const Results& results) {
  ValidationScores scores;
  double flips = 0;
  for (const auto& flip : results.flips)
    flips += flip.by_discriminator / static_cast<double>(results.flips.size());
  scores.score = (results.balanced_accuracy + weight_of_flips(results.false_marks) * flips) / 2;
  scores.values = {
      {"accuracy", results.accuracy}, {"flip_rate", flips}, {"false_marks", results.false_marks}};
  if (results.label_free) scores.values.emplace_back("iou", results.label_free->iou);
  return scores;
}

}  // namespace

ValidationScores validation_scores(const Results& results, ModelKind kind) {
  if (kind == ModelKind::kCounterfactual) return score_counterfactuals(results);
  if (kind == ModelKind::kClassifier)
    return {results.balanced_accuracy, {{"accuracy", results.accuracy}}};
  const double iou = results.tuned ? results.tuned->iou : 0.0;
  return {iou, {{"iou", iou}}};
}

Validate make_validation(const ImageFolder& whole, const fs::path& run, const ProcessGroup& group) {
  return [&whole, run, group, chosen = std::optional<ImageFolder>()](Model& model,
                                                                     int64_t step) mutable {
    if (!chosen) chosen = validation_images(whole, model.config);
    const ImageFolder& folder = *chosen;
    EvaluateOptions options;
    options.split = Split::kVal;
    options.everything = false;
    options.group = group;
    const ModelKind kind = model.config.model.kind;
    calibrate(model, folder, group);
    if (kind != ModelKind::kCounterfactual)
      return validation_scores(evaluate(model, folder, options), kind);
    const Explainer explainer(first_passes(model), 1.0, group);
    const Batch batch = sample_batch(folder, model.config.data);
    const Explanation explanation = explainer.explain(batch.images, {}, Effort::kNoDoubt);
    if (group.is_first())
      draw_counterfactuals(explanation, batch, folder.class_names,
                           run / "samples" / fmt::format("step_{:06}.png", step));
    return validation_scores(evaluate(explainer, folder, options), kind);
  };
}

Results measure_best(const fs::path& run) {
  const DeviceChoice device = load_stored_config(run / "config.toml").train.device;
  const Model model = load_model(run, resolve_device(device));
  const ImageFolder folder =
      validation_images(scan_for_model(read_about(run).data, model), model.config);
  EvaluateOptions options;
  options.split = Split::kVal;
  options.progress = "looking at the best model";
  return evaluate(model, folder, options);
}

}  // namespace flipside
