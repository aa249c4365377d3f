#pragma once

#include <vector>

#include "flipside/core/torch.h"
#include "flipside/explain/regions.h"

namespace flipside {

/// The lowest threshold that is ever used: one level of an 8-bit image. Fainter changes cannot be
/// seen, and a generator that changes nothing must mark nothing.
constexpr double kMinThreshold = 1.0 / 255;

/// How a map becomes a mask (docs/equations.md, "Masks").
struct MaskOptions {
  double threshold = 0.1;    ///< saliency in [0,1] units of |x_cf - x|
  double min_area = 0.0015;  ///< connected regions under this share of the image are dropped
  /// In a map that is faint everywhere marks begin lower: at this share of its largest value, but
  /// not below `kFaintest` of the threshold, nor so low that more than `kFaintArea` of the image is
  /// marked (docs/equations.md, "Masks"). 0: at the threshold alike.
  double faint_share = 0;
};

/// Of a model's own maps. All three were chosen on validation masks.
constexpr double kFaintShare = 0.35, kFaintest = 0.6, kFaintArea = 0.1;

/// Gaussian sigma that saliency is smoothed with, in pixels of the networks' resolution.
constexpr double kSmoothing = 0.6;

/// Saliency below which nothing counts as changed: 2.5 gray levels of an 8-bit image.
constexpr double kVisibleChange = 0.01;

/// saliency = mean over channels of |counterfactual - image|; both [N,3,H,W] -> [N,1,H,W] in [0,1].
/// `without_cast` leaves out what nine in ten pixels of an image change alike (`common_change`), so
/// that a cast of colour over the whole image marks nothing.
Tensor saliency_map(const Tensor& image, const Tensor& counterfactual, bool without_cast = false);

/// Gaussian smoothing of each map, [N,1,H,W], reflected at the border.
Tensor smooth(const Tensor& saliency, double sigma);

/// Thresholded (>=), each map by itself, small 8-connected regions dropped: [N,1,H,W] of 0 and 1.
Tensor saliency_to_mask(const Tensor& saliency, const MaskOptions& options);

/// Otsu's threshold (1979) of values in [0, 1] over a histogram of 1024 bins up to the largest
/// value: the bin edge that maximises the between-class variance, the middle one where empty bins
/// make several equally good, and the largest value where all are equal. Throws `Error(kArgument)`
/// for no values.
double otsu_threshold(const Tensor& values);
/// The same for counts of values in bins of `bin_width` from 0 on.
double otsu_threshold(const std::vector<int64_t>& counts, double bin_width);

/// Bounding boxes of the 8-connected regions of a [1,H,W] mask, largest area first.
std::vector<Box> mask_boxes(const Tensor& mask);

}  // namespace flipside
