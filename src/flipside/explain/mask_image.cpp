#include "flipside/explain/mask_image.h"

#include <opencv2/imgproc.hpp>

#include "flipside/data/image_io.h"

namespace flipside {

cv::Mat mask_at_size(const Tensor& saliency, cv::Size size, const MaskOptions& options) {
  cv::Mat map = to_float_map(saliency);
  if (map.size() != size) cv::resize(map, map, size, 0, 0, cv::INTER_LINEAR);
  return to_mask_image(saliency_to_mask(from_float_map(map).unsqueeze(0), options)[0]);
}

cv::Mat mask_at_size(const cv::Mat& saliency, cv::Size size, const MaskOptions& options) {
  return mask_at_size(from_float_map(saliency), size, options);
}

std::vector<Box> mask_boxes(const cv::Mat& mask) {
  return mask_boxes(mask_to_tensor(cv::Mat(mask != 0)));
}

}  // namespace flipside
