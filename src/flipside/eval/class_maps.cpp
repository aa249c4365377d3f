#include "flipside/eval/class_maps.h"

#include <fmt/format.h>

#include "flipside/core/error.h"
#include "flipside/eval/evaluator.h"
#include "flipside/explain/explainer.h"
#include "flipside/explain/guided_filter.h"
#include "flipside/explain/views.h"

namespace flipside {
namespace {

Tensor counterfactual_saliency(const Model& model, const Tensor& images, const Tensor& labels) {
  const int64_t reference = model.reference_class;
  const int64_t first_defect = reference == 0 ? 1 : 0;
  const Tensor targets = torch::where(labels == reference, torch::full_like(labels, first_defect),
                                      torch::full_like(labels, reference));
  return saliency_map(images,
                      Explainer(model).explain(images, targets, Effort::kNoDoubt).counterfactual,
                      model.thresholds.without_cast);
}

/// The mean over the model's views of each of the three maps.
AttributionMaps mean_attribution(AttributionMethod method, const Model& model, const Tensor& images,
                                 const Tensor& labels, const AttributionOptions& options) {
  const auto views = views_of(model.config, images.size(2) == images.size(3));
  const Tensor means = mean_over_views(views, images, [&](const Tensor& seen) {
    const Tensor classes = labels.repeat({seen.size(0) / images.size(0)});
    const AttributionMaps maps = attribute(method, model.discriminator, seen, classes, options);
    return torch::cat({maps.positive, maps.negative, maps.absolute}, /*dim=*/1);
  });
  const auto part = [&](int64_t i) { return means.narrow(/*dim=*/1, i, 1).contiguous(); };
  return {part(0), part(1), part(2)};
}

/// The options that a method's variants differ in, in words; "" where it has none.
std::string variant(AttributionMethod method, const AttributionOptions& options) {
  const char* baseline = options.baseline == Baseline::kBlack ? "black" : "mean colour";
  switch (method) {
    case AttributionMethod::kGradCam:
    case AttributionMethod::kGradCamPlusPlus:
    case AttributionMethod::kLayerCam:
      return options.layer < 0 ? "last layer, " : fmt::format("layer {}, ", options.layer);
    case AttributionMethod::kIntegratedGradients:
      return fmt::format("from {}, ", baseline);
    case AttributionMethod::kSmoothGrad:
      return fmt::format("noise {:g}, ", options.noise);
    case AttributionMethod::kRise:
      return fmt::format("{} cells on {}, ", options.cells, baseline);
    case AttributionMethod::kOcclusion:
      return fmt::format("window {:g}, ", options.window);
    default:
      return "";
  }
}

}  // namespace

std::vector<AttributionMethod> methods_of(const Model& model) {
  if (model.config.model.kind == ModelKind::kSegmenter)
    fail(ErrorCode::kArgument,
         "this model is a segmenter, which has no score of a class to explain; give a classifier "
         "or a counterfactual model");
  std::vector<AttributionMethod> methods;
  for (const auto method : all_methods())
    if (method != AttributionMethod::kCounterfactual ||
        model.config.model.kind == ModelKind::kCounterfactual)
      methods.push_back(method);
  return methods;
}

Tensor defect_probability(const Model& model, const Tensor& images) {
  const torch::NoGradGuard no_grad;
  Segmenter network = model.segmenter;
  const auto device = network->parameters().front().device();
  const auto views = views_of(model.config, images.size(2) == images.size(3));
  return mean_over_views(views, images.to(device).contiguous(kChannelsLast),
                         [&](const Tensor& seen) { return network->forward(seen).sigmoid(); })
      .cpu();
}

AttributionMaps class_maps(AttributionMethod method, const Model& model, const Tensor& images,
                           const Tensor& labels, const MapSetting& setting) {
  if (is_attribution(method)) {
    methods_of(model);  // refuses a segmenter
    return setting.average_views
               ? mean_attribution(method, model, images, labels, setting.attribution)
               : attribute(method, model.discriminator, images, labels, setting.attribution);
  }
  const Tensor map = method == AttributionMethod::kDarkness
                         ? darkness_map(images)
                         : counterfactual_saliency(model, images, labels);
  return {map, map, map};
}

Tensor finished_map(AttributionMethod method, const AttributionMaps& maps, const Tensor& images,
                    const MapSetting& setting) {
  const Tensor map =
      follow_edges(smooth(maps.of(setting.sign), setting.smoothing), images, setting.edge_radius);
  return is_attribution(method) ? relative_map(map) : map;
}

MaskOptions finished_mask_options(const MapSetting& setting, double threshold) {
  return {threshold, setting.min_area, setting.faint_share};
}

std::string describe(AttributionMethod method, const MapSetting& setting) {
  std::string text = variant(method, setting.attribution);
  if (is_attribution(method)) text += fmt::format("{}, ", to_string(setting.sign));
  if (setting.average_views) text += "mean over views, ";
  text += fmt::format("smoothing {:g}, ", setting.smoothing);
  if (setting.edge_radius > 0) text += fmt::format("edges within {} pixels, ", setting.edge_radius);
  if (setting.faint_share > 0)
    text += fmt::format("faint maps from {:g} %, ", 100 * setting.faint_share);
  return text + fmt::format("regions from {:g} %", 100 * setting.min_area);
}

}  // namespace flipside
