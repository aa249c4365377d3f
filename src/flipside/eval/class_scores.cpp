#include "flipside/eval/class_scores.h"

namespace flipside {
namespace {

void add_rows(ConfusionMeter& meter, const Tensor& labels, const Tensor& probs,
              const Tensor& chosen) {
  const Tensor rows = chosen.nonzero().flatten();
  if (rows.numel() > 0)
    meter.add(labels.index_select(0, rows), probs.index_select(0, rows).argmax(/*dim=*/1));
}

}  // namespace

ClassScores::ClassScores(const Model& model, bool doubt)
    : reference_(model.reference_class),
      rule_(doubt ? model.doubt_rule : std::nullopt),
      confusion_(model.num_classes()),
      certain_(model.num_classes()),
      doubtful_(model.num_classes()) {}

void ClassScores::add(const Tensor& labels, const Tensor& probs, const Tensor& doubt) {
  confusion_.add(labels, probs.argmax(/*dim=*/1));
  ranks_.add(1 - probs.select(/*dim=*/1, reference_), labels != reference_);
  if (!rule_) return;
  const Tensor certain = doubt <= rule_->threshold;
  add_rows(certain_, labels, probs, certain);
  add_rows(doubtful_, labels, probs, certain.logical_not());
}

void ClassScores::write(Results& results) const {
  results.accuracy = confusion_.accuracy();
  results.balanced_accuracy = confusion_.balanced_accuracy();
  results.macro_f1 = confusion_.macro_f1();
  results.auroc = ranks_.auroc();
  results.confusion = confusion_.counts();
  if (!rule_) return;
  const auto certain = static_cast<double>(certain_.total());
  results.certain = CertainScores{*rule_, certain / static_cast<double>(confusion_.total()),
                                  certain_.accuracy(), doubtful_.accuracy()};
}

}  // namespace flipside
