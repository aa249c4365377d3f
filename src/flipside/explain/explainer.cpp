#include "flipside/explain/explainer.h"

#include <algorithm>
#include <cmath>

#include "flipside/core/error.h"
#include "flipside/explain/guided_filter.h"
#include "flipside/explain/uncertainty.h"
#include "flipside/model/blocks.h"

namespace flipside {
namespace {

double checked_sensitivity(double sensitivity) {
  if (!(sensitivity > 0) || !std::isfinite(sensitivity))
    fail(
        ErrorCode::kArgument,
        "sensitivity = {}: must be > 0; 1 is the trained threshold, 2 marks changes twice as faint",
        sensitivity);
  return sensitivity;
}

MaskOptions options_at(double threshold, double sensitivity) {
  MaskOptions options;
  if (std::isfinite(threshold)) options.threshold = threshold;
  options.threshold = std::max(options.threshold / sensitivity, kMinThreshold);
  options.faint_share = kFaintShare;
  return options;
}

/// Probability of its target from which on a counterfactual is taken no further.
constexpr double kConvincing = 0.8;
/// By how much of its change a counterfactual is taken further at a time.
constexpr double kStep = 0.2;

Tensor to_cpu(const Tensor& tensor) { return tensor.to(torch::kCPU, torch::kFloat32); }

void check_targets(const Tensor& targets, int64_t num_images, int64_t num_classes) {
  if (targets.dim() != 1 || targets.size(0) != num_images || targets.scalar_type() != torch::kInt64)
    fail(ErrorCode::kArgument, "targets: must be {} class numbers of type int64, one per image",
         num_images);
  const int64_t low = targets.min().item<int64_t>(), high = targets.max().item<int64_t>();
  if (low < 0 || high >= num_classes)
    fail(ErrorCode::kArgument, "targets: {}: must be in [0,{})", low < 0 ? low : high, num_classes);
}

/// Those that an explanation has, `with_doubt` or without.
std::vector<Tensor Explanation::*> fields(bool with_doubt) {
  std::vector<Tensor Explanation::*> all{
      &Explanation::probs,     &Explanation::fakeness,
      &Explanation::predicted, &Explanation::head_probs,
      &Explanation::target,    &Explanation::counterfactual,
      &Explanation::saliency,  &Explanation::counterfactual_probs,
      &Explanation::mask,      &Explanation::counterfactual_fakeness};
  if (with_doubt) all.push_back(&Explanation::doubt);
  return all;
}

}  // namespace

Explainer::Explainer(Model model, double sensitivity, ProcessGroup group)
    : model_(std::move(model)),
      sensitivity_(checked_sensitivity(sensitivity)),
      group_(std::move(group)),
      mask_options_(options_at(model_.thresholds.label_free, sensitivity_)) {
  if (model_.config.model.kind != ModelKind::kCounterfactual)
    fail(ErrorCode::kArgument,
         "this model is a classifier or segmenter and makes no counterfactuals: train one with "
         "--model counterfactual, or show a classifier's maps with --method");
  model_.eval();
}

Tensor Explainer::default_targets(const Tensor& probs) const {
  const int64_t reference = model_.reference_class;
  Tensor defect_probs = probs.clone();
  defect_probs.select(/*dim=*/1, reference).fill_(-1);
  const Tensor predicted = probs.argmax(/*dim=*/1);
  return torch::where(predicted == reference, defect_probs.argmax(/*dim=*/1),
                      torch::full_like(predicted, reference));
}

Explanation Explainer::explain(const Tensor& images, const Tensor& targets, Effort effort) const {
  check_images(images, model_.generator->stride());
  if (images.size(0) == 0) fail(ErrorCode::kArgument, "explain: no images; give at least one");
  if (targets.defined()) check_targets(targets, images.size(0), model_.num_classes());
  if (group_.is_alone()) return explain_here(images, targets, effort);

  const auto shared_fields = fields(tells_doubt(effort));
  const auto shared = group_.in_shares(images, [&](const Tensor& own, const Tensor& rows) {
    const Explanation part =
        explain_here(own, targets.defined() ? targets.index_select(0, rows) : Tensor(), effort);
    std::vector<Tensor> values;
    for (const auto field : shared_fields) values.push_back(part.*field);
    return values;
  });
  Explanation whole;
  for (size_t i = 0; i < shared.size(); ++i) whole.*shared_fields[i] = shared[i];
  return whole;
}

bool Explainer::tells_doubt(Effort effort) const {
  return model_.doubt_rule && effort != Effort::kNoDoubt;
}

Explanation Explainer::explain_here(const Tensor& images, const Tensor& targets,
                                    Effort effort) const {
  Explanation result;
  {
    const c10::InferenceMode inference;
    result = infer(images, targets, effort);
  }
  // Copies, which may be written to and take part in gradients as those of inference mode may not.
  for (const auto field : fields(tells_doubt(effort))) result.*field = (result.*field).clone();
  return result;
}

Explanation Explainer::infer(const Tensor& images, const Tensor& targets, Effort effort) const {
  Discriminator discriminator = model_.discriminator;
  const Tensor x = network_images(model_, images);
  NetworkAnswers answers;
  answers.logits = discriminator->forward(x);
  answers.probs = answer_probs(model_, x, answers.logits);
  const Tensor predicted = answers.probs.argmax(/*dim=*/1);
  const Tensor target = targets.defined() ? targets.to(x.device()) : default_targets(answers.probs);
  const Tensor chosen = effort == Effort::kDefects ? predicted != model_.reference_class
                                                   : torch::ones_like(target, torch::kBool);
  const Tensor averaged = chosen & (target == model_.reference_class);

  Explanation result;
  result.probs = to_cpu(answers.probs);
  result.fakeness = to_cpu(fakeness(answers.logits, model_.config.model.fake_head));
  result.predicted = predicted.cpu();
  const GeneratorResult made = generate(x, target, averaged);
  const Outcome outcome = taken_further(
      gone_over(outcome_of(x, made.counterfactual), x, target, averaged, result.predicted), x,
      target);
  answers.head_probs = made.class_logits.softmax(/*dim=*/1);
  result.head_probs = to_cpu(answers.head_probs);
  result.target = target.cpu();
  result.counterfactual = to_cpu(outcome.counterfactual);
  result.counterfactual_probs = to_cpu(outcome.probs);
  result.counterfactual_fakeness = to_cpu(outcome.fakeness);
  if (tells_doubt(effort)) result.doubt = doubt_of(chosen.nonzero().flatten(), x, answers);
  result.saliency = outcome.saliency;
  const Tensor is_defect = (result.predicted != model_.reference_class).view({-1, 1, 1, 1});
  result.mask =
      saliency_to_mask(on_common_scale(result.saliency, result.predicted), mask_options_) *
      is_defect;
  return result;
}

Tensor Explainer::map_of(const Tensor& images, const Tensor& counterfactuals,
                         bool without_cast) const {
  const Tensor change = saliency_map(images, counterfactuals, without_cast);
  return refined(to_cpu(change), images, model_.config.explain.edge_radius);
}

Explainer::Outcome Explainer::outcome_of(const Tensor& x, const Tensor& counterfactual) const {
  Discriminator discriminator = model_.discriminator;
  const Tensor logits = discriminator->forward(counterfactual);
  return {counterfactual, answer_probs(model_, counterfactual, logits),
          fakeness(logits, model_.config.model.fake_head),
          map_of(x, counterfactual, model_.thresholds.without_cast)};
}

Explainer::Outcome Explainer::Outcome::replaced(const Tensor& rows, const Outcome& again,
                                                const Tensor& kept) const {
  const Tensor chosen = kept.nonzero().flatten();
  Outcome result;
  for (const auto field :
       {&Outcome::counterfactual, &Outcome::probs, &Outcome::fakeness, &Outcome::saliency}) {
    const Tensor& before = this->*field;
    const Tensor from = chosen.to(before.device());
    result.*field = before.index_copy(0, rows.to(before.device()).index_select(0, from),
                                      (again.*field).index_select(0, from));
  }
  return result;
}

Explainer::Outcome Explainer::gone_over(const Outcome& first, const Tensor& x, const Tensor& target,
                                        const Tensor& averaged, const Tensor& predicted) const {
  const double threshold = model_.thresholds.label_free;
  if (!model_.config.explain.second_pass || !std::isfinite(threshold)) return first;
  const auto not_convinced = [](const Outcome& outcome, const Tensor& targets) {
    return outcome.probs.argmax(/*dim=*/1) != targets;
  };
  const Tensor rows = not_convinced(first, target).nonzero().flatten();
  if (rows.size(0) == 0) return first;
  const auto chosen = [&rows](const Tensor& of_all) { return of_all.index_select(0, rows); };

  const Tensor towards = target.cpu();
  const Tensor defects = torch::where(towards == model_.reference_class, predicted, towards);
  const Tensor marked = on_common_scale(first.saliency, defects) /
                            options_at(threshold, /*sensitivity=*/1.0).threshold -
                        1;
  const Tensor before = chosen(first.counterfactual).contiguous(kChannelsLast);
  const Tensor after = generate(before, chosen(target), chosen(averaged)).counterfactual;
  const Outcome second =
      outcome_of(chosen(x), torch::lerp(before, after, chosen(marked.clamp(0, 1).to(x.device()))));
  return first.replaced(rows, second, not_convinced(second, chosen(target)).logical_not());
}

Explainer::Outcome Explainer::taken_further(const Outcome& made, const Tensor& x,
                                            const Tensor& target) const {
  const auto sureness = [](const Outcome& outcome, const Tensor& targets) {
    return outcome.probs.gather(/*dim=*/1, targets.unsqueeze(1)).squeeze(1);
  };
  const auto steps = static_cast<int64_t>((model_.config.explain.furthest - 1) / kStep + 1e-6);
  Outcome best = made;
  for (int64_t step = 1; step <= steps; ++step) {
    const Tensor so_far = sureness(best, target);
    const Tensor rows = (so_far < kConvincing).nonzero().flatten();
    if (rows.size(0) == 0) break;
    const auto chosen = [&rows](const Tensor& of_all) { return of_all.index_select(0, rows); };
    const Tensor from = chosen(x), change = chosen(made.counterfactual) - from;
    const Outcome outcome = outcome_of(from, (from + (1 + step * kStep) * change).clamp(0, 1));
    best = best.replaced(rows, outcome, sureness(outcome, chosen(target)) > chosen(so_far));
  }
  return best;
}

GeneratorResult Explainer::generate(const Tensor& x, const Tensor& target,
                                    const Tensor& averaged) const {
  if (model_.config.explain.one_pass) return one_view(x, target);
  const auto views = views_of(model_.config, x.size(2) == x.size(3));
  const Tensor rows = averaged.nonzero().flatten(),
               others = averaged.logical_not().nonzero().flatten();
  if (views.size() == 1 || rows.size(0) == 0) return one_view(x, target);
  if (others.size(0) == 0) return mean_view(x, views);
  const GeneratorResult mean = mean_view(x.index_select(0, rows), views);
  const GeneratorResult one = one_view(x.index_select(0, others), target.index_select(0, others));
  const auto whole = [&](const Tensor& of_rows, const Tensor& of_others) {
    const Tensor stacked = torch::cat({of_rows, of_others});
    return torch::empty_like(stacked).index_copy_(0, torch::cat({rows, others}), stacked);
  };
  GeneratorResult result;
  result.counterfactual = whole(mean.counterfactual, one.counterfactual);
  result.class_logits = whole(mean.class_logits, one.class_logits);
  return result;
}

GeneratorResult Explainer::one_view(const Tensor& x, const Tensor& target) const {
  const ActivationType type(model_.config.explain.generator_precision, x.device());
  Generator generator = model_.generator;
  return generator->forward(x, target);
}

GeneratorResult Explainer::mean_view(const Tensor& x, const std::vector<View>& views) const {
  GeneratorResult result;
  result.counterfactual = mean_over_views(views, x, [&](const Tensor& seen) {
    const auto reference =
        torch::full({seen.size(0)}, model_.reference_class, x.options().dtype(torch::kInt64));
    const GeneratorResult made = one_view(seen, reference);
    // The first view is the images as they are.
    if (!result.class_logits.defined())
      result.class_logits = made.class_logits.narrow(/*dim=*/0, 0, x.size(0));
    return made.counterfactual;
  });
  return result;
}

Tensor Explainer::doubt_of(const Tensor& rows, const Tensor& x,
                           const NetworkAnswers& answers) const {
  const std::string& score = model_.doubt_rule->score;
  if (rows.size(0) == x.size(0)) return answer_score(model_, score, x, answers);
  Tensor doubt = torch::full({x.size(0)}, std::nan(""), torch::kFloat64);
  if (rows.size(0) == 0) return doubt;
  const auto chosen = [&rows](const Tensor& of_all) { return of_all.index_select(0, rows); };
  return doubt.index_copy_(
      0, rows.cpu(),
      answer_score(model_, score, chosen(x),
                   {chosen(answers.logits), chosen(answers.probs), chosen(answers.head_probs)}));
}

MaskOptions Explainer::mask_options(int64_t defect_class) const {
  return options_at(model_.thresholds.label_free_of(defect_class), sensitivity_);
}

Tensor Explainer::on_common_scale(const Tensor& saliency, const Tensor& classes) const {
  Tensor factors = torch::ones({classes.size(0), 1, 1, 1});
  for (int64_t i = 0; i < classes.size(0); ++i)
    factors[i] = mask_options_.threshold / mask_options(classes[i].item<int64_t>()).threshold;
  return saliency * factors;
}

bool is_certain(const Model& model, const Explanation& explanation, int64_t row) {
  return !model.doubt_rule || !explanation.doubt.defined() ||
         explanation.doubt[row].item<double>() <= model.doubt_rule->threshold;
}

int64_t Explainer::class_index(const std::string& name) const {
  return flipside::class_index(model_, name);
}

}  // namespace flipside
