#include <cmath>

#include "flipside/data/loader.h"
#include "flipside/eval/evaluator.h"
#include "flipside/eval/meters.h"

namespace flipside {
namespace {

constexpr int64_t kHistogramBins = 4096;  // over [0,1]
constexpr int64_t kBatch = 32;

Tensor histogram_of(const Tensor& saliency) {
  const Tensor bins = saliency.flatten().mul(kHistogramBins).clamp(0, kHistogramBins - 1);
  return torch::bincount(bins.to(torch::kInt64), {}, kHistogramBins);
}

/// By Otsu over what has changed at all: most pixels of most images have not, and would pull the
/// threshold down among the faint changes. NaN where nothing has changed.
double threshold_of(const Tensor& histogram) {
  const Tensor changed = histogram.clone();
  changed.slice(0, 0, std::lround(kVisibleChange * kHistogramBins)).zero_();
  if (changed.sum().item<int64_t>() == 0) return kUndefined;
  const auto* counts = changed.data_ptr<int64_t>();
  return otsu_threshold({counts, counts + kHistogramBins}, 1.0 / kHistogramBins);
}

}  // namespace

Tensor rows_with_masks(const Batch& batch, int64_t reference) {
  if (!batch.masks.defined()) return torch::empty({0}, torch::kInt64);
  const Tensor has_mask = batch.masks.flatten(/*start_dim=*/1).isnan().any(/*dim=*/1).logical_not();
  return (has_mask & (batch.labels != reference)).nonzero().flatten();
}

Thresholds choose_thresholds(const Explainer& explainer, const ImageFolder& folder) {
  const int64_t reference = explainer.model().reference_class;
  // One histogram per class, of the numbers of pixels.
  Tensor histograms =
      torch::zeros({explainer.model().num_classes(), kHistogramBins}, torch::kInt64);
  SaliencyCurve curve;
  EvalLoader loader(folder, Split::kVal, explainer.model().config.data, kBatch);
  for (Batch batch; loader.next(batch);) {
    const Tensor defects = (batch.labels != reference).nonzero().flatten();
    if (defects.numel() == 0) continue;
    const Tensor images = batch.images.index_select(0, defects);
    const Tensor targets = torch::full({images.size(0)}, reference, torch::kInt64);
    const Tensor saliency = explainer.explain(images, targets, Effort::kNoDoubt).saliency;
    Batch chosen;
    chosen.labels = batch.labels.index_select(0, defects);
    for (int64_t i = 0; i < saliency.size(0); ++i)
      histograms[chosen.labels[i].item<int64_t>()] += histogram_of(saliency[i]);

    if (!batch.masks.defined()) continue;
    chosen.masks = batch.masks.index_select(0, defects);
    const Tensor rows = rows_with_masks(chosen, reference);
    curve.add(saliency.index_select(0, rows), chosen.masks.index_select(0, rows));
  }
  Thresholds thresholds;
  thresholds.label_free = threshold_of(histograms.sum(/*dim=*/0));
  for (int64_t label = 0; label < histograms.size(0); ++label)
    thresholds.by_class.push_back(threshold_of(histograms[label]));
  thresholds.tuned = curve.best_threshold();
  return thresholds;
}

double tune_threshold(const std::function<Tensor(const Tensor&)>& map, const ImageFolder& folder,
                      const DataConfig& config, int64_t batch_size) {
  SaliencyCurve curve;
  if (!folder.has_masks(Split::kVal)) return curve.best_threshold();
  EvalLoader loader(folder, Split::kVal, config, batch_size);
  for (Batch batch; loader.next(batch);) {
    const Tensor rows = rows_with_masks(batch, folder.reference_class);
    if (rows.numel() > 0)
      curve.add(map(batch.images.index_select(0, rows)), batch.masks.index_select(0, rows));
  }
  return curve.best_threshold();
}

}  // namespace flipside
