#include "flipside/eval/image_scores.h"

#include <algorithm>
#include <cmath>

#include "flipside/eval/class_maps.h"
#include "flipside/explain/answer.h"

namespace flipside {
namespace {

/// The masks are those of a defect of the class turned into, or turned away from.
Answers answer_counterfactual(const Model& model, const Tensor& images, const Tensor& labels,
                              const Tensor& targets) {
  const Explainer explainer(model);
  const Explanation e = explainer.explain(images, targets);
  const Tensor defects = torch::where(e.target == model.reference_class, labels, e.target);
  const Tensor scaled = explainer.on_common_scale(e.saliency, defects);
  return {e.probs,          e.fakeness,
          e.counterfactual, e.counterfactual_probs,
          e.saliency,       saliency_to_mask(scaled, explainer.mask_options())};
}

double at(const Tensor& values, int64_t row) { return values[row].item<double>(); }

bool has_mask(const Batch& batch, int64_t row) {
  return batch.masks.defined() && !batch.masks[row].isnan().any().item<bool>();
}

double iou_of(const Tensor& mask, const Tensor& truth) {
  MaskMeter meter;
  meter.add(mask, truth);
  return meter.mean_iou();
}

/// Images of a batch with the classes they are turned into.
struct Pass {
  Batch batch;
  Tensor targets;
};

Batch rows_of(const Batch& batch, const Tensor& rows) {
  return {batch.images.index_select(0, rows), batch.labels.index_select(0, rows),
          batch.masks.defined() ? batch.masks.index_select(0, rows) : Tensor(),
          batch.indices.index_select(0, rows)};
}

/// One pass over all images; a counterfactual model with several defect classes takes one more over
/// the reference images for each of the others.
std::vector<Pass> passes(const Model& model, const Batch& batch) {
  const int64_t reference = model.reference_class;
  std::vector<Pass> result;
  for (int64_t defect = 0; defect < model.num_classes(); ++defect) {
    if (defect == reference) continue;
    const bool is_first = result.empty();
    const Tensor rows = (batch.labels == reference).logical_or(torch::tensor(is_first));
    if (!rows.any().item<bool>()) continue;
    Pass pass{rows_of(batch, rows.nonzero().flatten()), {}};
    const Tensor& labels = pass.batch.labels;
    pass.targets = torch::where(labels == reference, torch::full_like(labels, defect),
                                torch::full_like(labels, reference));
    result.push_back(std::move(pass));
    if (model.config.model.kind != ModelKind::kCounterfactual) break;
  }
  return result;
}

void add_pass(const Model& model, const Pass& pass, ImageScores& into) {
  const Answers answers = answer(model, pass.batch.images, pass.batch.labels, pass.targets);
  const auto scores = scores_of(model, pass.batch, pass.targets, answers);
  into.scores.insert(into.scores.end(), scores.begin(), scores.end());
  if (!answers.map.defined()) return;
  const Tensor rows = rows_with_masks(pass.batch, model.reference_class);
  if (rows.numel() > 0)
    into.curve.add(answers.map.index_select(0, rows), pass.batch.masks.index_select(0, rows));
}

}  // namespace

Answers answer(const Model& model, const Tensor& images, const Tensor& labels,
               const Tensor& targets) {
  Answers answers;
  switch (model.config.model.kind) {
    case ModelKind::kCounterfactual:
      return answer_counterfactual(model, images, labels, targets);
    case ModelKind::kClassifier:
      answers.probs = real_class_probs(model, images);
      return answers;
    case ModelKind::kSegmenter:
      answers.map = defect_probability(model, images);
      answers.mask = saliency_to_mask(answers.map, kSegmenterMask);
      return answers;
  }
  return answers;
}

std::vector<ImageScore> scores_of(const Model& model, const Batch& batch, const Tensor& targets,
                                  const Answers& answers) {
  std::vector<ImageScore> scores(batch.labels.size(0));
  for (int64_t i = 0; i < batch.labels.size(0); ++i) {
    ImageScore& score = scores[i];
    score.index = batch.indices[i].item<int64_t>();
    score.label = batch.labels[i].item<int64_t>();
    if (answers.probs.defined()) {
      score.predicted = answers.probs[i].argmax().item<int64_t>();
      score.probability = at(answers.probs[i], score.predicted);
    }
    if (answers.fakeness.defined()) score.fakeness = at(answers.fakeness, i);
    if (answers.counterfactual_probs.defined()) {
      score.target = targets[i].item<int64_t>();
      score.target_probability = at(answers.counterfactual_probs[i], score.target);
      score.flipped = answers.counterfactual_probs[i].argmax().item<int64_t>() == score.target;
    }
    if (answers.mask.defined() && score.label != model.reference_class && has_mask(batch, i))
      score.iou = iou_of(answers.mask.slice(0, i, i + 1), batch.masks.slice(0, i, i + 1));
  }
  return scores;
}

ImageScores score_images(const Model& model, EvalLoader& loader) {
  ImageScores result;
  for (Batch batch; loader.next(batch);)
    for (const Pass& pass : passes(model, batch)) add_pass(model, pass, result);
  std::stable_sort(result.scores.begin(), result.scores.end(),
                   [](const ImageScore& a, const ImageScore& b) { return a.index < b.index; });
  return result;
}

Extremes extremes(const std::vector<double>& values, size_t each) {
  std::vector<size_t> order;
  for (size_t i = 0; i < values.size(); ++i)
    if (!std::isnan(values[i])) order.push_back(i);
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return values[a] > values[b]; });
  // The best come first, then the worst from the other end, and the middle of what is left.
  const size_t best = std::min(each, order.size()), worst = std::min(each, order.size() - best);
  const size_t left = order.size() - best - worst, middle = std::min(each, left);
  const auto first = order.begin() + static_cast<std::ptrdiff_t>(best + (left - middle) / 2);
  return {{order.begin(), order.begin() + static_cast<std::ptrdiff_t>(best)},
          {first, first + static_cast<std::ptrdiff_t>(middle)},
          {order.rbegin(), order.rbegin() + static_cast<std::ptrdiff_t>(worst)}};
}

}  // namespace flipside
