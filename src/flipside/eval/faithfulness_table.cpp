#include "flipside/eval/faithfulness_table.h"
#include "flipside/explain/answer.h"

namespace flipside {
namespace {

ClassProbabilities probabilities_of(const Model& model) {
  return [&model](const Tensor& images) { return real_class_probs(model, images); };
}

/// The rows of a batch with those masks.
FaithfulnessMeter::Cases cases_of(const Batch& batch, const Explanation& explanation,
                                  const Tensor& rows, const Tensor& masks) {
  const auto chosen = [&](const Tensor& all) { return all.index_select(0, rows); };
  return {chosen(batch.images),         chosen(explanation.counterfactual),
          chosen(explanation.saliency), masks,
          chosen(batch.labels),         chosen(explanation.target)};
}

}  // namespace

FaithfulnessTable::FaithfulnessTable(const Explainer& explainer, const Model* judge)
    : explainer_(explainer),
      own_(probabilities_of(explainer.model())),
      true_masks_(probabilities_of(judge ? *judge : explainer.model()), /*steps=*/0),
      exact_(true_masks_) {
  if (judge) judge_.emplace(probabilities_of(*judge));
}

void FaithfulnessTable::add(const Batch& batch, const Explanation& explanation,
                            const ExactImages& exact) {
  const int64_t reference = explainer_.model().reference_class;
  const Tensor rows = (batch.labels != reference).nonzero().flatten();
  if (rows.numel() == 0) return;
  const Tensor saliency = explainer_.on_common_scale(explanation.saliency.index_select(0, rows),
                                                     batch.labels.index_select(0, rows));
  const auto cases =
      cases_of(batch, explanation, rows, saliency_to_mask(saliency, explainer_.mask_options()));
  own_.add(cases);
  if (judge_) judge_->add(cases);
  add_yardsticks(batch, explanation, exact);
}

void FaithfulnessTable::add_yardsticks(const Batch& batch, const Explanation& explanation,
                                       const ExactImages& exact) {
  const Tensor rows = rows_with_masks(batch, explainer_.model().reference_class);
  if (rows.numel() == 0) return;
  true_masks_.add(cases_of(batch, explanation, rows, batch.masks.index_select(0, rows)));
  if (exact.rows.numel() == 0) return;
  auto cases = cases_of(batch, explanation, exact.rows, batch.masks.index_select(0, exact.rows));
  cases.counterfactuals = exact.images;
  exact_.add(cases);
}

void FaithfulnessTable::write(Results& results) const {
  results.faithfulness = own_.scores();
  if (judge_) results.judge_faithfulness = judge_->scores();
  if (true_masks_.scores().images > 0) results.true_mask_faithfulness = true_masks_.scores();
  if (exact_.scores().images > 0) results.exact_faithfulness = exact_.scores();
}

}  // namespace flipside
