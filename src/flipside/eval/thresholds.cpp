#include <cmath>

#include "flipside/data/loader.h"
#include "flipside/eval/evaluator.h"
#include "flipside/eval/meters.h"
#include "flipside/train/losses.h"

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

/// Maps of one kind, for the thresholds that fit them.
class MapStatistics {
 public:
  explicit MapStatistics(int64_t num_classes)
      : histograms_(torch::zeros({num_classes, kHistogramBins}, torch::kInt64)) {}

  /// `maps` [N,1,H,W] of images of defects with their labels and, where there are any, masks.
  void add(const Tensor& maps, const Batch& batch, int64_t reference) {
    for (int64_t i = 0; i < maps.size(0); ++i)
      histograms_[batch.labels[i].item<int64_t>()] += histogram_of(maps[i]);
    const Tensor rows = rows_with_masks(batch, reference);
    if (rows.numel() > 0) curve_.add(maps.index_select(0, rows), batch.masks.index_select(0, rows));
  }

  Thresholds thresholds() const {
    Thresholds result;
    result.label_free = threshold_of(histograms_.sum(/*dim=*/0));
    for (int64_t label = 0; label < histograms_.size(0); ++label)
      result.by_class.push_back(threshold_of(histograms_[label]));
    result.tuned = curve_.best_threshold();
    return result;
  }

 private:
  Tensor histograms_;  ///< of the numbers of pixels, [K,kHistogramBins]
  SaliencyCurve curve_;
};

/// Over which images [N] lies a cast of colour: one that can be seen, and `local`, their maps
/// without it, reach twice as far. Where they do not, as over a part that is discoloured all over,
/// it is the defect.
Tensor have_cast(const Tensor& images, const Tensor& counterfactuals, const Tensor& local) {
  const Tensor cast = common_change(counterfactuals - images).abs().mean(/*dim=*/1).flatten();
  return (cast >= kVisibleChange) & (local.flatten(/*start_dim=*/1).amax(/*dim=*/1) >= 2 * cast);
}

}  // namespace

Tensor rows_with_masks(const Batch& batch, int64_t reference) {
  if (!batch.masks.defined()) return torch::empty({0}, torch::kInt64);
  const Tensor has_mask = batch.masks.flatten(/*start_dim=*/1).isnan().any(/*dim=*/1).logical_not();
  return (has_mask & (batch.labels != reference)).nonzero().flatten();
}

Thresholds choose_thresholds(const Explainer& explainer, const ImageFolder& folder) {
  const int64_t reference = explainer.model().reference_class;
  const int64_t num_classes = explainer.model().num_classes();
  MapStatistics whole(num_classes), local(num_classes);
  int64_t num_images = 0, num_casts = 0;
  EvalLoader loader(folder, Split::kVal, explainer.model().config.data, kBatch);
  for (Batch batch; loader.next(batch);) {
    const Tensor defects = (batch.labels != reference).nonzero().flatten();
    if (defects.numel() == 0) continue;
    Batch chosen;
    chosen.images = batch.images.index_select(0, defects);
    chosen.labels = batch.labels.index_select(0, defects);
    if (batch.masks.defined()) chosen.masks = batch.masks.index_select(0, defects);
    const Tensor targets = torch::full({defects.size(0)}, reference, torch::kInt64);
    const Tensor changed =
        explainer.explain(chosen.images, targets, Effort::kNoDoubt).counterfactual;
    whole.add(explainer.map_of(chosen.images, changed, /*without_cast=*/false), chosen, reference);
    const Tensor maps = explainer.map_of(chosen.images, changed, /*without_cast=*/true);
    local.add(maps, chosen, reference);
    num_casts += have_cast(chosen.images, changed, maps).sum().item<int64_t>();
    num_images += defects.size(0);
  }
  const bool without_cast = num_images > 0 && 2 * num_casts >= num_images;
  Thresholds thresholds = without_cast ? local.thresholds() : whole.thresholds();
  thresholds.without_cast = without_cast;
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
