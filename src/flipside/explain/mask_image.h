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

/// `original` with the change that turned `seen`, the same image at the networks' size, into
/// `changed`: all CV_8UC3 RGB. The change is enlarged bilinearly; where it evens out what is there,
/// the original's finer detail goes with it, or a defect would leave its rims: per channel
///   original + change + a (original - seen), everything enlarged,
/// a from the guided filter's fits of the change to `seen` (`guided_fit`, windows of 3 pixels), cut
/// off to [-1, 0] (ours; docs/equations.md, "Masks"). Where `original` is not larger, a = 0.
cv::Mat enlarge_change(const cv::Mat& original, const cv::Mat& seen, const cv::Mat& changed);

/// The mask of one map CV_32FC1 in [0,1] (`saliency_to_mask`): CV_8UC1 of 0 and 255.
cv::Mat mask_image(const cv::Mat& map, const MaskOptions& options);

/// `mask_boxes` of a mask CV_8UC1, regions of nonzero pixels.
std::vector<Box> mask_boxes(const cv::Mat& mask);

}  // namespace flipside
