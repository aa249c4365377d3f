#pragma once

#include <string>
#include <vector>

#include "flipside/explain/attribution/scorer.h"

namespace flipside {

/// Ways to a map of what matters for a class. All but the first and the last are attribution
/// methods: they explain any network with class logits, a classifier or the K+1 discriminator.
enum class AttributionMethod {
  kCounterfactual,       ///< |x_cf - x|, of counterfactual models alone
  kGradCam,              ///< Selvaraju et al. 2017
  kGradCamPlusPlus,      ///< Chattopadhay et al. 2018
  kLayerCam,             ///< Jiang et al. 2021
  kIntegratedGradients,  ///< Sundararajan et al. 2017
  kInputXGradient,       ///< Shrikumar et al. 2016
  kSmoothGrad,           ///< Smilkov et al. 2017
  kRise,                 ///< Petsiuk et al. 2018
  kOcclusion,            ///< Zeiler and Fergus 2014
  kDarkness,             ///< darker than the local median: no network at all
};

/// Every method, in the order above.
const std::vector<AttributionMethod>& all_methods();
/// "counterfactual", "grad_cam", ...
const char* to_string(AttributionMethod method);
/// The method of a name; `Error(kUsage)` naming those there are.
AttributionMethod method_named(const std::string& name);
/// False for the counterfactual and for darkness, whose maps are in units of the image.
bool is_attribution(AttributionMethod method);

/// What each method can be told; it ignores what belongs to the others.
struct AttributionOptions {
  int64_t layer = -1;                   ///< CAMs: index of the network's levels, -1 the last
  Baseline baseline = Baseline::kMean;  ///< integrated gradients, RISE, occlusion
  int64_t steps = 32;                   ///< integrated gradients
  int64_t samples = 25;                 ///< SmoothGrad
  double noise = 0.15;                  ///< SmoothGrad: share of the image's range (paper: 0.1-0.2)
  int64_t masks = 500;                  ///< RISE
  int64_t cells = 8;                    ///< RISE
  double keep = 0.5;                    ///< RISE
  double window = 0.125;                ///< occlusion: share of the image's shorter side
  double stride = 0.5;                  ///< occlusion: share of the window
  uint64_t seed = 1;                    ///< SmoothGrad and RISE
};

/// Which part of a signed map is shown.
enum class Sign {
  kPositive,  ///< evidence for the class
  kNegative,  ///< evidence against it
  kAbsolute,  ///< both
};
const char* to_string(Sign sign);
Sign sign_named(const std::string& name);  ///< `Error(kUsage)` for an unknown name

/// A method's map by sign: each [N,1,H,W], float32, on the CPU, >= 0, in the method's own unit.
/// Maps that have colours are summed over them before positive and negative parts are told apart;
/// their absolute map is the sum of the colours' absolute values. A CAM's negative map is the CAM
/// of the negated score, and its absolute map the sum of the two.
struct AttributionMaps {
  Tensor positive, negative, absolute;
  const Tensor& of(Sign sign) const;
};

/// Explains the logit of each image's class: `images` [N,3,H,W] in [0,1] with sides that the
/// network takes, `classes` [N] int64 (of a K+1 discriminator one of the K real ones).
/// Deterministic in `options.seed`. Throws `Error(kArgument)` for the counterfactual and for
/// darkness, which are no attribution methods, and for wrong shapes, classes or options.
AttributionMaps attribute(AttributionMethod method, Discriminator network, const Tensor& images,
                          const Tensor& classes, const AttributionOptions& options = {});

/// Each map divided by its own maximum: [N,1,H,W] in [0,1], all 0 where a map is. The unit of an
/// attribution map is arbitrary, and this is how such maps are customarily scaled; unlike the
/// counterfactual's saliency it makes the strongest pixel of a good part as bright as a defect's.
Tensor relative_map(const Tensor& maps);

}  // namespace flipside
