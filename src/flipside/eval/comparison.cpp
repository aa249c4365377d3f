#include "flipside/eval/comparison.h"

#include <algorithm>
#include <cmath>

#include "flipside/core/error.h"
#include "flipside/core/log.h"
#include "flipside/data/loader.h"
#include "flipside/eval/meters.h"
#include "flipside/eval/model_folder.h"
#include "flipside/explain/views.h"

namespace flipside {
namespace {

// What is tried for every method alike.
constexpr double kSmoothings[] = {0, 0.5, 1.5, 3};  // pixels
constexpr int64_t kEdgeRadii[] = {0, 1, 4};         // pixels; 0: without
constexpr double kMinAreas[] = {0, 0.0015, 0.006};  // shares of the image
constexpr double kFactors[] = {0.5, 0.6, 0.7, 0.8, 0.9, 1, 1.15, 1.3, 1.5};
constexpr size_t kFinalists = 3;  // settings whose clean-up is tuned
constexpr int64_t kRandomisationImages = 16;

/// Images of one split that the comparison rests on.
struct Cases {
  std::vector<Batch> batches;
  int64_t images = 0;
};

/// `folder` with no more than the defect images with masks of the split, at most `limit`.
ImageFolder masked_defects(const ImageFolder& folder, Split split, int64_t limit) {
  ImageFolder chosen = folder;
  auto& records = chosen.records[static_cast<int>(split)];
  records.erase(std::remove_if(records.begin(), records.end(),
                               [&](const ImageRecord& record) {
                                 return record.mask.empty() ||
                                        record.label == folder.reference_class;
                               }),
                records.end());
  if (records.empty())
    fail(ErrorCode::kData,
         "{}: no defect image with a mask in split {}: methods are compared on masks of the "
         "validation split and of the split measured",
         folder.root.string(), to_string(split));
  const auto total = static_cast<int64_t>(records.size());
  if (limit <= 0 || total <= limit) return chosen;
  std::vector<ImageRecord> few;
  for (int64_t i = 0; i < limit; ++i) few.push_back(records[(2 * i + 1) * total / (2 * limit)]);
  records = few;
  return chosen;
}

Cases read_cases(const ImageFolder& folder, Split split, const Model& model,
                 const CompareOptions& options) {
  const ImageFolder chosen = masked_defects(folder, split, options.limit);
  Cases cases;
  EvalLoader loader(chosen, split, model.config.data, options.batch);
  for (Batch batch; loader.next(batch);) {
    cases.images += batch.images.size(0);
    cases.batches.push_back(batch);
  }
  return cases;
}

/// A method's maps of all cases under one variant of its options, from few views or many.
std::vector<AttributionMaps> maps_of(AttributionMethod method, const Model& model,
                                     const Cases& cases, const MapSetting& setting) {
  std::vector<AttributionMaps> maps;
  for (const auto& batch : cases.batches)
    maps.push_back(class_maps(method, model, batch.images, batch.labels, setting));
  return maps;
}

/// A setting in the running: its finished maps of the validation images, and how good they are.
struct Candidate {
  MapSetting setting;
  std::vector<Tensor> maps;
  double threshold = kUndefined, iou = -1;
};

Candidate rate(AttributionMethod method, const std::vector<AttributionMaps>& maps,
               const Cases& cases, const MapSetting& setting) {
  Candidate candidate;
  candidate.setting = setting;
  SaliencyCurve curve;
  for (size_t i = 0; i < maps.size(); ++i) {
    candidate.maps.push_back(finished_map(method, maps[i], cases.batches[i].images, setting));
    curve.add(candidate.maps.back(), cases.batches[i].masks);
  }
  candidate.threshold = curve.best_threshold();
  if (!std::isnan(candidate.threshold)) candidate.iou = curve.iou_at(candidate.threshold);
  return candidate;
}

/// Keeps the best few, best first; of equal ones the earlier.
void keep_best(std::vector<Candidate>& best, Candidate candidate) {
  const auto place =
      std::upper_bound(best.begin(), best.end(), candidate,
                       [](const Candidate& a, const Candidate& b) { return a.iou > b.iou; });
  best.insert(place, std::move(candidate));
  if (best.size() > kFinalists) best.pop_back();
}

/// Clean-up and threshold of best IoU for a finalist.
void tune_clean_up(Candidate& candidate, const Cases& cases) {
  const double start = candidate.threshold;
  MapSetting setting = candidate.setting;
  const auto try_at = [&](double threshold) {
    MaskMeter meter;
    for (size_t i = 0; i < candidate.maps.size(); ++i)
      meter.add(saliency_to_mask(candidate.maps[i], finished_mask_options(setting, threshold)),
                cases.batches[i].masks);
    if (!(meter.iou() > candidate.iou)) return;
    candidate.setting = setting;
    candidate.threshold = threshold;
    candidate.iou = meter.iou();
  };
  for (const double faint_share : {0.0, kFaintShare})
    for (const double min_area : kMinAreas)
      for (const double factor : kFactors) {
        setting.faint_share = faint_share;
        setting.min_area = min_area;
        try_at(std::max(start * factor, kMinThreshold));
      }
}

/// The best of everything that is tried for a method.
Candidate choose(AttributionMethod method, const Model& model, const Cases& cases,
                 const CompareOptions& options) {
  const bool has_sign = is_attribution(method);
  std::vector<Candidate> best;
  const auto try_with = [&](MapSetting setting) {
    const auto maps = maps_of(method, model, cases, setting);
    for (const Sign sign : {Sign::kPositive, Sign::kNegative, Sign::kAbsolute}) {
      if (sign != Sign::kPositive && !has_sign) continue;
      for (const double smoothing : kSmoothings)
        for (const int64_t radius : kEdgeRadii) {
          setting.sign = sign;
          setting.smoothing = smoothing;
          setting.edge_radius = radius;
          keep_best(best, rate(method, maps, cases, setting));
        }
    }
  };
  MapSetting start;
  start.min_area = 0;
  for (const auto& variant :
       attribution_variants(method, model.discriminator->num_levels(), options.masks)) {
    start.attribution = variant;
    try_with(start);
  }
  // Of the best variant alone, as it takes as many passes as there are views.
  if (has_sign && views_of(model.config, /*square=*/true).size() > 1) {
    start.attribution = best.front().setting.attribution;
    start.average_views = true;
    try_with(start);
  }
  for (auto& candidate : best)
    if (!std::isnan(candidate.threshold)) tune_clean_up(candidate, cases);
  return *std::max_element(best.begin(), best.end(),
                           [](const Candidate& a, const Candidate& b) { return a.iou < b.iou; });
}

MaskScores scores_at(const std::vector<Tensor>& maps, const Cases& cases, const MapSetting& setting,
                     double threshold) {
  MaskMeter meter;
  // A method that finds nothing on the validation masks has no threshold and marks nothing.
  const MaskOptions rule = finished_mask_options(setting, std::isnan(threshold) ? 2 : threshold);
  for (size_t i = 0; i < maps.size(); ++i)
    meter.add(saliency_to_mask(maps[i], rule), cases.batches[i].masks);
  return mask_scores(meter, threshold);
}

std::vector<RandomisedLayer> randomise(AttributionMethod method, const Model& model,
                                       const Cases& cases, const MapSetting& setting) {
  if (method == AttributionMethod::kDarkness) return {};  // has no weights
  const Batch& first = cases.batches.front();
  const int64_t count = std::min(kRandomisationImages, first.images.size(0));
  const Tensor images = first.images.narrow(/*dim=*/0, 0, count);
  const Tensor labels = first.labels.narrow(/*dim=*/0, 0, count);
  const auto map = [&](const Model& any) {
    return finished_map(method, class_maps(method, any, images, labels, setting), images, setting);
  };
  return randomisation_test(model, method == AttributionMethod::kCounterfactual, map);
}

MethodResult compare_one(AttributionMethod method, const Model& model, const Cases& validation,
                         const Cases& measured, const CompareOptions& options) {
  const Candidate chosen = choose(method, model, validation, options);
  MethodResult result;
  result.method = method;
  result.setting = chosen.setting;
  result.validation_iou = std::max(0.0, chosen.iou);
  const double otsu = std::max(kMinThreshold, otsu_threshold(torch::cat(chosen.maps)));

  std::vector<Tensor> maps;
  SaliencyCurve curve;
  const auto raw = maps_of(method, model, measured, chosen.setting);
  for (size_t i = 0; i < raw.size(); ++i) {
    maps.push_back(finished_map(method, raw[i], measured.batches[i].images, chosen.setting));
    curve.add(maps.back(), measured.batches[i].masks);
  }
  result.tuned = scores_at(maps, measured, chosen.setting, chosen.threshold);
  result.label_free = scores_at(maps, measured, chosen.setting, otsu);
  result.average_precision = curve.average_precision();
  if (options.randomisation)
    result.randomisation = randomise(method, model, measured, chosen.setting);
  return result;
}

void check_methods(const std::vector<AttributionMethod>& methods, const Model& model) {
  const auto known = methods_of(model);
  for (const auto method : methods)
    if (std::find(known.begin(), known.end(), method) == known.end())
      fail(ErrorCode::kArgument,
           "method {}: this model is a classifier, which makes no counterfactuals; leave it out",
           to_string(method));
}

}  // namespace

std::vector<AttributionOptions> attribution_variants(AttributionMethod method, int64_t layers,
                                                     int64_t rise_masks) {
  using M = AttributionMethod;
  std::vector<AttributionOptions> variants;
  AttributionOptions options;
  options.masks = rise_masks;
  const auto add = [&] { variants.push_back(options); };
  switch (method) {
    case M::kGradCam:
    case M::kGradCamPlusPlus:
    case M::kLayerCam:
      for (options.layer = 0; options.layer < layers; ++options.layer) add();
      break;
    case M::kIntegratedGradients:
      for (const auto baseline : {Baseline::kBlack, Baseline::kMean}) {
        options.baseline = baseline;
        add();
      }
      break;
    case M::kSmoothGrad:
      for (const double noise : {0.05, 0.15}) {
        options.noise = noise;
        add();
      }
      break;
    case M::kRise:
      for (const auto baseline : {Baseline::kBlack, Baseline::kMean}) {
        options.baseline = baseline;
        add();
      }
      options.cells = 16;
      add();
      break;
    case M::kOcclusion:
      for (const double window : {0.0625, 0.125, 0.25}) {
        options.window = window;
        add();
      }
      break;
    default:
      add();
  }
  return variants;
}

Comparison compare_methods(const Model& model, const ImageFolder& folder,
                           const CompareOptions& options) {
  check_methods(options.methods, model);
  require_model_classes(folder, model);
  const Cases validation = read_cases(folder, Split::kVal, model, options);
  const Cases measured = read_cases(folder, options.split, model, options);
  Comparison comparison;
  comparison.split = options.split;
  comparison.images = measured.images;
  comparison.validation_images = validation.images;
  comparison.randomisation_images =
      options.randomisation
          ? std::min(kRandomisationImages, measured.batches.front().images.size(0))
          : 0;
  const auto methods = options.methods.empty() ? methods_of(model) : options.methods;
  Progress progress("compare", static_cast<int64_t>(methods.size()), "methods");
  for (const auto method : methods) {
    comparison.methods.push_back(compare_one(method, model, validation, measured, options));
    progress.advance(1, to_string(method));
  }
  progress.finish();
  return comparison;
}

}  // namespace flipside
