#include "flipside/eval/evaluator.h"

#include <cmath>

#include "flipside/core/error.h"
#include "flipside/core/log.h"
#include "flipside/data/loader.h"
#include "flipside/eval/class_maps.h"
#include "flipside/eval/class_scores.h"
#include "flipside/eval/faithfulness_table.h"
#include "flipside/eval/judge.h"
#include "flipside/eval/model_folder.h"
#include "flipside/explain/answer.h"
#include "flipside/explain/guided_filter.h"
#include "flipside/explain/uncertainty.h"

namespace flipside {
namespace {

void check_folder(const ImageFolder& folder, const Model& model, Split split) {
  require_model_classes(folder, model);
  if (folder.split(split).empty())
    fail(ErrorCode::kData, "{}: no image in split {}; choose another with --split",
         folder.root.string(), to_string(split));
}

/// Masks of one map at one threshold.
struct MaskTrial {
  MaskOptions options;
  MaskMeter meter;
  void add(const Tensor& map, const Tensor& truth) {
    meter.add(saliency_to_mask(map, options), truth);
  }
};

/// One threshold for every map.
MaskOptions with_threshold(MaskOptions options, double threshold) {
  options.threshold = threshold;
  options.faint_share = 0;
  return options;
}

ExactImages exact_images(const Batch& batch, const EvalLoader& loader, int64_t reference) {
  std::vector<int64_t> rows;
  std::vector<Tensor> images;
  const Tensor with_masks = rows_with_masks(batch, reference);
  for (int64_t i = 0; i < with_masks.numel(); ++i) {
    const auto row = with_masks[i].item<int64_t>();
    const Tensor exact = loader.counterfactual(batch.indices[row].item<int64_t>());
    if (!exact.defined()) continue;
    rows.push_back(row);
    images.push_back(exact);
  }
  return {torch::tensor(rows, torch::kInt64), images.empty() ? Tensor() : torch::stack(images)};
}

/// Gathers what a counterfactual model shows, batch by batch.
class Evaluation {
 public:
  Evaluation(const Explainer& explainer, const ImageFolder& folder, const EvaluateOptions& options);
  void add(const Batch& batch, const EvalLoader& loader);
  Results results() const;

 private:
  struct FlipCount {
    int64_t images = 0, agreed = 0, agreed_strictly = 0, judged = 0;
  };
  void add_classes(const Batch& batch, const Explanation& explanation);
  void add_flips(const Tensor& labels, const Explanation& explanation);
  void add_masks(const Batch& batch, const Explanation& explanation);
  void add_kept(const Tensor& images);
  /// The trivial map; it gets what the model's map gets before its threshold.
  Tensor darkness_of(const Tensor& images) const {
    return refined(darkness_map(images), images, model_.config.explain.edge_radius);
  }
  void add_truth(const Batch& batch, const Explanation& explanation, const ExactImages& exact);

  bool everything_;
  const Explainer& explainer_;
  const Model& model_;
  const Model* judge_;
  std::vector<int64_t> defect_classes_;
  ClassScores classes_;
  ConfusionMeter head_, judge_classes_;
  std::vector<std::vector<FlipCount>> flips_;
  ChangeTable changes_;
  ChangeMeter true_masks_;
  MaskTrial label_free_;
  std::optional<MaskTrial> tuned_, darkness_;
  std::optional<FaithfulnessTable> faithfulness_;
  SaliencyCurve curve_;
  double inside_sum_ = 0, inside_pixels_ = 0, outside_sum_ = 0, outside_pixels_ = 0;
};

Evaluation::Evaluation(const Explainer& explainer, const ImageFolder& folder,
                       const EvaluateOptions& options)
    : everything_(options.everything),
      explainer_(explainer),
      model_(explainer.model()),
      judge_(options.judge),
      classes_(model_, everything_),
      head_(model_.num_classes()),
      judge_classes_(model_.num_classes()),
      flips_(model_.num_classes(), std::vector<FlipCount>(model_.num_classes())),
      changes_(explainer, everything_ && judge_ ? judge_features(*judge_) : nullptr),
      true_masks_(explainer.mask_options()),
      label_free_{explainer.mask_options(), MaskMeter()} {
  for (int64_t k = 0; k < model_.num_classes(); ++k)
    if (k != model_.reference_class) defect_classes_.push_back(k);
  const MaskOptions& rule = explainer.mask_options();
  if (!std::isnan(model_.thresholds.tuned))
    tuned_ = MaskTrial{with_threshold(rule, model_.thresholds.tuned), MaskMeter()};
  if (!everything_) return;
  faithfulness_.emplace(explainer, judge_);
  const double darkness = tune_threshold([&](const Tensor& images) { return darkness_of(images); },
                                         folder, model_.config.data, options.batch);
  if (!std::isnan(darkness)) darkness_ = MaskTrial{with_threshold(rule, darkness), MaskMeter()};
}

void Evaluation::add(const Batch& batch, const EvalLoader& loader) {
  const Tensor is_reference = batch.labels == model_.reference_class;
  changes_.add_real(batch.images, batch.labels);
  // Defect images go to the reference class, reference images to each defect class in turn.
  for (size_t turn = 0; turn < defect_classes_.size(); ++turn) {
    const Tensor rows =
        (turn == 0 ? torch::ones_like(is_reference) : is_reference).nonzero().flatten();
    if (rows.numel() == 0) continue;
    const Tensor labels = batch.labels.index_select(0, rows);
    const Tensor targets = torch::where(labels == model_.reference_class,
                                        torch::full_like(labels, defect_classes_[turn]),
                                        torch::full_like(labels, model_.reference_class));
    const Tensor images = batch.images.index_select(0, rows);
    // The answers for the images are asked for in the first turn, which holds them all.
    const bool with_doubt = everything_ && turn == 0;
    const auto explanation =
        explainer_.explain(images, targets, with_doubt ? Effort::kAll : Effort::kNoDoubt);
    add_flips(labels, explanation);
    changes_.add(images, labels, explanation);
    if (turn > 0) continue;
    add_classes(batch, explanation);
    add_masks(batch, explanation);
    const ExactImages exact = exact_images(batch, loader, model_.reference_class);
    if (exact.rows.numel() > 0) add_truth(batch, explanation, exact);
    if (faithfulness_) faithfulness_->add(batch, explanation, exact);
  }
  const Tensor good = is_reference.nonzero().flatten();
  if (good.numel() > 0) add_kept(batch.images.index_select(0, good));
}

void Evaluation::add_kept(const Tensor& images) {
  const Tensor same = torch::full({images.size(0)}, model_.reference_class, torch::kInt64);
  changes_.add(images, same, explainer_.explain(images, same, Effort::kNoDoubt));
}

void Evaluation::add_classes(const Batch& batch, const Explanation& explanation) {
  classes_.add(batch.labels, explanation.probs, explanation.doubt);
  head_.add(batch.labels, explanation.head_probs.argmax(/*dim=*/1));
  if (judge_)
    judge_classes_.add(batch.labels, real_class_probs(*judge_, batch.images).argmax(/*dim=*/1));
}

void Evaluation::add_flips(const Tensor& labels, const Explanation& explanation) {
  const Tensor& target = explanation.target;
  const Tensor agreed = explanation.counterfactual_probs.argmax(/*dim=*/1) == target;
  // p(class, real) = p(class | real) (1 - fakeness) against p(fake): the softmax over all K+1
  // logits, and the factorised head alike.
  const Tensor joint =
      explanation.counterfactual_probs.amax(/*dim=*/1) * (1 - explanation.counterfactual_fakeness);
  const Tensor strict = agreed & (joint > explanation.counterfactual_fakeness);
  const Tensor judged =
      judge_ ? real_class_probs(*judge_, explanation.counterfactual).argmax(/*dim=*/1) == target
             : torch::zeros_like(agreed);
  for (int64_t i = 0; i < labels.size(0); ++i) {
    FlipCount& count = flips_[labels[i].item<int64_t>()][target[i].item<int64_t>()];
    ++count.images;
    count.agreed += agreed[i].item<bool>();
    count.agreed_strictly += strict[i].item<bool>();
    count.judged += judged[i].item<bool>();
  }
}

void Evaluation::add_masks(const Batch& batch, const Explanation& explanation) {
  const Tensor rows = rows_with_masks(batch, model_.reference_class);
  if (rows.numel() == 0) return;
  const Tensor saliency = explanation.saliency.index_select(0, rows);
  const Tensor truth = batch.masks.index_select(0, rows);
  label_free_.add(explainer_.on_common_scale(saliency, batch.labels.index_select(0, rows)), truth);
  if (everything_) true_masks_.add(truth, truth, truth);
  if (tuned_) tuned_->add(saliency, truth);
  if (darkness_) darkness_->add(darkness_of(batch.images.index_select(0, rows)), truth);
  curve_.add(saliency, truth);
}

void Evaluation::add_truth(const Batch& batch, const Explanation& explanation,
                           const ExactImages& exact) {
  const Tensor found = explanation.counterfactual.index_select(0, exact.rows);
  const Tensor mask = batch.masks.index_select(0, exact.rows);
  const Tensor error = (found - exact.images).abs().mean(/*dim=*/1, /*keepdim=*/true);
  inside_sum_ += (error * mask).sum().item<double>();
  inside_pixels_ += mask.sum().item<double>();
  outside_sum_ += (error * (1 - mask)).sum().item<double>();
  outside_pixels_ += (1 - mask).sum().item<double>();
}

Results Evaluation::results() const {
  Results results;
  classes_.write(results);
  results.head_accuracy = head_.accuracy();
  if (judge_) results.judge_accuracy = judge_classes_.accuracy();
  for (int64_t from = 0; from < model_.num_classes(); ++from)
    for (int64_t to = 0; to < model_.num_classes(); ++to) {
      const FlipCount& count = flips_[from][to];
      if (count.images == 0) continue;
      const auto share = [&](int64_t part) {
        return static_cast<double>(part) / static_cast<double>(count.images);
      };
      results.flips.push_back({from, to, count.images, share(count.agreed),
                               share(count.agreed_strictly),
                               judge_ ? std::optional(share(count.judged)) : std::nullopt});
    }
  results.changes = changes_.scores();
  results.false_marks = false_marks(results.changes, model_.reference_class);
  results.without_cast = model_.thresholds.without_cast;
  results.mask_images = label_free_.meter.images();
  if (results.mask_images > 0) {
    if (everything_) results.mask_diversity = true_masks_.scores().diversity;
    results.label_free = mask_scores(label_free_.meter, label_free_.options.threshold);
    if (tuned_) results.tuned = mask_scores(tuned_->meter, tuned_->options.threshold);
    if (darkness_) results.darkness_iou = darkness_->meter.iou();
    results.pixel_average_precision = curve_.average_precision();
  }
  if (faithfulness_) faithfulness_->write(results);
  if (inside_pixels_ > 0) {
    results.error_inside = inside_sum_ / inside_pixels_;
    results.error_outside = outside_sum_ / outside_pixels_;
  }
  return results;
}

/// What every kind of model's results share.
Results complete(Results results, const Model& model, const EvalLoader& loader, Split split) {
  results.split = split;
  results.class_names = model.class_names;
  results.reference_class = model.reference_class;
  results.images = loader.size();
  return results;
}

/// Gives every batch of the loader to `use`, under the progress line of the options.
void for_each_batch(EvalLoader& loader, const EvaluateOptions& options,
                    const std::function<void(const Batch&)>& use) {
  Progress progress(options.progress, loader.size(), "img");
  for (Batch batch; loader.next(batch);) {
    use(batch);
    progress.advance(batch.images.size(0));
  }
}

/// Probabilities and, with `doubt`, that by the model's rule; undefined where it has none.
std::pair<Tensor, Tensor> answers_of(const Model& model, const Tensor& images, bool doubt,
                                     const ProcessGroup& group) {
  doubt = doubt && model.doubt_rule;
  const auto answers = group.in_shares(images, [&](const Tensor& own, const Tensor&) {
    const torch::NoGradGuard no_grad;
    const Tensor x = network_images(model, own);
    const NetworkAnswers asked = ask(model, x);
    std::vector<Tensor> found{asked.probs.cpu()};
    if (doubt) found.push_back(answer_score(model, model.doubt_rule->score, x, asked));
    return found;
  });
  return {answers[0], doubt ? answers[1] : Tensor()};
}

Results evaluate_classifier(const Model& model, const ImageFolder& folder,
                            const EvaluateOptions& options) {
  ClassScores classes(model, options.everything);
  EvalLoader loader(folder, options.split, model.config.data, options.batch);
  for_each_batch(loader, options, [&](const Batch& batch) {
    const auto [probs, doubt] = answers_of(model, batch.images, options.everything, options.group);
    classes.add(batch.labels, probs, doubt);
  });
  Results results;
  classes.write(results);
  return complete(results, model, loader, options.split);
}

Results evaluate_segmenter(const Model& model, const ImageFolder& folder,
                           const EvaluateOptions& options) {
  const auto probability = [&](const Tensor& images) {
    return options.group.in_shares(images, [&](const Tensor& own, const Tensor&) {
      return std::vector<Tensor>{defect_probability(model, own)};
    })[0];
  };
  MaskTrial fixed{kSegmenterMask, MaskMeter()}, tuned = fixed;
  tuned.options.threshold = tune_threshold(probability, folder, model.config.data, options.batch);
  SaliencyCurve curve;
  EvalLoader loader(folder, options.split, model.config.data, options.batch);
  for_each_batch(loader, options, [&](const Batch& batch) {
    const Tensor rows = rows_with_masks(batch, model.reference_class);
    if (rows.numel() == 0) return;
    const Tensor map = probability(batch.images.index_select(0, rows));
    const Tensor truth = batch.masks.index_select(0, rows);
    fixed.add(map, truth);
    tuned.add(map, truth);
    curve.add(map, truth);
  });
  Results results;
  results.mask_images = fixed.meter.images();
  if (results.mask_images > 0) {
    results.fixed = mask_scores(fixed.meter, fixed.options.threshold);
    if (!std::isnan(tuned.options.threshold))
      results.tuned = mask_scores(tuned.meter, tuned.options.threshold);
    results.pixel_average_precision = curve.average_precision();
  }
  return complete(results, model, loader, options.split);
}

}  // namespace

MaskScores mask_scores(const MaskMeter& meter, double threshold) {
  return {threshold,           meter.iou(),       meter.mean_iou(), meter.f1(),
          meter.tolerant_f1(), meter.precision(), meter.recall()};
}

Results evaluate(const Explainer& explainer, const ImageFolder& folder,
                 const EvaluateOptions& options) {
  const Model& model = explainer.model();
  check_folder(folder, model, options.split);
  if (options.judge) {
    check_judge(*options.judge, model);
    warn_of_other_split(*options.judge, model, folder);
  }
  Evaluation evaluation(explainer, folder, options);
  EvalLoader loader(folder, options.split, model.config.data, options.batch);
  for_each_batch(loader, options, [&](const Batch& batch) { evaluation.add(batch, loader); });
  return complete(evaluation.results(), model, loader, options.split);
}

Results evaluate(const Model& model, const ImageFolder& folder, const EvaluateOptions& options) {
  if (model.config.model.kind == ModelKind::kCounterfactual)
    return evaluate(Explainer(model, 1.0, options.group), folder, options);
  check_folder(folder, model, options.split);
  if (options.judge)
    fail(ErrorCode::kArgument,
         "judge: only the flips of a counterfactual model can be judged; leave --judge out");
  return model.config.model.kind == ModelKind::kClassifier
             ? evaluate_classifier(model, folder, options)
             : evaluate_segmenter(model, folder, options);
}

}  // namespace flipside
