#pragma once

#include "flipside/explain/attribution/attribution.h"
#include "flipside/explain/mask.h"
#include "flipside/model/model.h"

namespace flipside {

/// How a method's map is made and becomes a mask.
struct MapSetting {
  AttributionOptions attribution;
  Sign sign = Sign::kPositive;               ///< of attribution methods
  double smoothing = kSmoothing;             ///< Gaussian sigma in pixels
  int64_t edge_radius = 0;                   ///< of `follow_edges`, after smoothing; 0: not
  double min_area = MaskOptions{}.min_area;  ///< as `MaskOptions::min_area`
  double faint_share = 0;                    ///< as `MaskOptions::faint_share`
  bool average_views = false;                ///< of attribution methods: the mean over `views_of`
};

/// The methods that a model can answer: all for a counterfactual model, all but the counterfactual
/// for a classifier. Throws `Error(kArgument)` for a segmenter, which has no score of a class.
std::vector<AttributionMethod> methods_of(const Model& model);

/// Probability of a defect per pixel by a segmenter, the mean over `views_of`: [N,3,H,W] ->
/// [N,1,H,W] on the CPU.
Tensor defect_probability(const Model& model, const Tensor& images);

/// How a segmenter's probability becomes a mask when no threshold was tuned: as it is, from 0.5 on.
constexpr MaskOptions kSegmenterMask{0.5, /*min_area=*/0};

/// The map of any method for images [N,3,H,W] of classes `labels` [N] int64: what speaks for these
/// classes. The counterfactual goes to the reference class (from that class, to the first defect
/// class), and like darkness it has one sign: all three maps are the same. Of the setting the
/// attribution's options and its views matter. `Error(kArgument)` for a method that the model has
/// not.
AttributionMaps class_maps(AttributionMethod method, const Model& model, const Tensor& images,
                           const Tensor& labels, const MapSetting& setting);

/// The map of the setting's sign, smoothed, fitted to the edges of the images [N,3,H,W], in [0,1]:
/// [N,1,H,W]. Attribution maps, whose unit is arbitrary, are then divided by their own maximum
/// (`relative_map`); the counterfactual's saliency and darkness are in units of the image and stay
/// as they are.
Tensor finished_map(AttributionMethod method, const AttributionMaps& maps, const Tensor& images,
                    const MapSetting& setting);

/// The rule from a finished map to its mask.
MaskOptions finished_mask_options(const MapSetting& setting, double threshold);

/// "layer 2, negative, smoothing 0.6, edges within 4 pixels, regions from 0.15 %": what was chosen
/// of the setting.
std::string describe(AttributionMethod method, const MapSetting& setting);

}  // namespace flipside
