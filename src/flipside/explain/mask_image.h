#pragma once

#include <opencv2/core.hpp>
#include <vector>

#include "flipside/explain/mask.h"

namespace flipside {

/// The mask of one map [1,H,W] at another size (the original image's): smoothed at the network's
/// resolution, resized bilinearly, thresholded and cleaned at `size`. CV_8UC1 of 0 and 255.
cv::Mat mask_at_size(const Tensor& saliency, cv::Size size, const MaskOptions& options);
cv::Mat mask_at_size(const cv::Mat& saliency, cv::Size size, const MaskOptions& options);  ///< 32F

/// `mask_boxes` of a mask CV_8UC1, regions of nonzero pixels.
std::vector<Box> mask_boxes(const cv::Mat& mask);

}  // namespace flipside
