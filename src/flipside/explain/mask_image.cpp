#include "flipside/explain/mask_image.h"

#include <opencv2/imgproc.hpp>

#include "flipside/data/image_io.h"
#include "flipside/explain/guided_filter.h"

namespace flipside {
namespace {

/// Mean over channels of CV_8UC3, in [0,1]: CV_32FC1.
cv::Mat brightness(const cv::Mat& image) {
  cv::Mat mean(image.size(), CV_32FC1);
  for (int y = 0; y < image.rows; ++y) {
    const auto* from = image.ptr<cv::Vec3b>(y);
    auto* to = mean.ptr<float>(y);
    for (int x = 0; x < image.cols; ++x)
      to[x] = static_cast<float>(from[x][0] + from[x][1] + from[x][2]) / (3 * 255.F);
  }
  return mean;
}

/// One channel of CV_8UC3, in [0,1]: CV_32FC1.
cv::Mat channel_of(const cv::Mat& image, int channel) {
  cv::Mat values;
  cv::extractChannel(image, values, channel);
  values.convertTo(values, CV_32F, 1 / 255.0);
  return values;
}

/// A batch of one.
Tensor as_batch(const cv::Mat& map) { return from_float_map(map).unsqueeze(0); }

cv::Mat as_map(const Tensor& of_fit) { return to_float_map(of_fit[0].to(torch::kFloat32)); }

GuidedFit fit_to(const cv::Mat& guide, const cv::Mat& map) {
  return guided_fit(as_batch(guide), as_batch(map), /*radius=*/1, kFlat);
}

bool is_finer(const cv::Mat& image, const cv::Mat& than) {
  return image.size() != than.size() && image.cols >= than.cols && image.rows >= than.rows;
}

}  // namespace

cv::Mat enlarged(const cv::Mat& image, cv::Size size) {
  if (image.size() == size) return image;
  cv::Mat result;
  cv::resize(image, result, size, 0, 0, cv::INTER_LINEAR);
  return result;
}

cv::Mat enlarge_by_edges(const cv::Mat& map, const cv::Mat& seen, const cv::Mat& original) {
  TORCH_CHECK(seen.size() == map.size(), "the image must be given at the map's size too");
  if (!is_finer(original, map)) return enlarged(map, original.size());
  const GuidedFit fit = fit_to(brightness(seen), map);
  const auto coefficients = [&](const Tensor& of_fit) {
    return enlarged(as_map(of_fit), original.size());
  };
  cv::Mat result = brightness(original);
  cv::multiply(result, coefficients(fit.a), result);
  cv::add(result, coefficients(fit.b), result);
  cv::max(result, 0, result);
  cv::min(result, 1, result);
  return result;
}

cv::Mat enlarge_change(const cv::Mat& original, const cv::Mat& seen, const cv::Mat& changed) {
  TORCH_CHECK(seen.size() == changed.size(), "both must be of the networks' size");
  const bool has_detail = is_finer(original, seen);
  std::vector<cv::Mat> channels(3);
  for (int c = 0; c < 3; ++c) {
    const cv::Mat before = channel_of(seen, c), change = channel_of(changed, c) - before;
    cv::Mat result = channel_of(original, c);
    if (has_detail) {
      const cv::Mat share = as_map(fit_to(before, change).a.clamp(-1, 0));
      cv::Mat detail = result - enlarged(before, original.size());
      cv::multiply(detail, enlarged(share, original.size()), detail);
      cv::add(result, detail, result);
    }
    cv::add(result, enlarged(change, original.size()), result);
    result.convertTo(channels[c], CV_8U, 255);
  }
  cv::Mat result;
  cv::merge(channels, result);
  return result;
}

cv::Mat mask_image(const cv::Mat& map, const MaskOptions& options) {
  return to_mask_image(saliency_to_mask(as_batch(map), options)[0]);
}

std::vector<Box> mask_boxes(const cv::Mat& mask) {
  return mask_boxes(mask_to_tensor(cv::Mat(mask != 0)));
}

}  // namespace flipside
