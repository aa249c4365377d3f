#pragma once

#include <opencv2/core.hpp>
#include <vector>

#include "flipside/explain/mask.h"

namespace flipside {

/// An image or a map brought to a size bilinearly; as it is where it has it already.
cv::Mat enlarged(const cv::Mat& image, cv::Size size);

/// A map CV_32FC1 in [0,1] at the size of the image it belongs to, and with that image's edges,
/// which are finer than the map's: the guided filter's fits (`guided_fit`, windows of 3 pixels of
/// the map) to `seen`, the image at the map's size, are enlarged bilinearly and meet the pixels of
/// `original` (He and Sun, "Fast Guided Filter", arXiv:1505.00996). Both images CV_8UC3 RGB. Where
/// `original` is not larger the map is resized bilinearly.
cv::Mat enlarge_by_edges(const cv::Mat& map, const cv::Mat& seen, const cv::Mat& original);

/// The mask of one map CV_32FC1 in [0,1] (`saliency_to_mask`): CV_8UC1 of 0 and 255.
cv::Mat mask_image(const cv::Mat& map, const MaskOptions& options);

/// `mask_boxes` of a mask CV_8UC1, regions of nonzero pixels.
std::vector<Box> mask_boxes(const cv::Mat& mask);

}  // namespace flipside
