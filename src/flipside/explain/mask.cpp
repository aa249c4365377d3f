#include "flipside/explain/mask.h"

#include <algorithm>
#include <cmath>
#include <opencv2/imgproc.hpp>

#include "flipside/core/error.h"

namespace flipside {
namespace {

constexpr int kOtsuBins = 1024;

void check_maps(const Tensor& maps, const char* name) {
  if (!maps.defined() || maps.dim() != 4 || maps.size(1) != 1 || maps.numel() == 0)
    fail(ErrorCode::kArgument, "{}: must be a tensor [N,1,H,W] without empty sides", name);
}

/// A view of a contiguous float32 map [1,H,W] or [H,W]; the tensor must outlive it.
cv::Mat view(const Tensor& map) {
  return cv::Mat(static_cast<int>(map.size(-2)), static_cast<int>(map.size(-1)), CV_32FC1,
                 map.data_ptr<float>());
}

Tensor contiguous_floats(const Tensor& maps) {
  return maps.detach().to(torch::kCPU, torch::kFloat32).contiguous();
}

cv::Mat blur(const cv::Mat& map, double sigma) {
  if (sigma <= 0) return map;
  cv::Mat blurred;
  cv::GaussianBlur(map, blurred, cv::Size(), sigma, sigma, cv::BORDER_REFLECT_101);
  return blurred;
}

/// 0/255 mask of the values at or above the threshold, without the small regions.
cv::Mat threshold_and_clean(const cv::Mat& map, const MaskOptions& options) {
  cv::Mat mask = map >= options.threshold;
  const double min_pixels = options.min_area * static_cast<double>(mask.total());
  if (min_pixels <= 1) return mask;
  cv::Mat labels, stats, centroids;
  const int count = cv::connectedComponentsWithStats(mask, labels, stats, centroids, 8, CV_32S);
  std::vector<uint8_t> keep(count, 255);
  keep[0] = 0;  // the background
  for (int label = 1; label < count; ++label)
    if (stats.at<int>(label, cv::CC_STAT_AREA) < min_pixels) keep[label] = 0;
  for (int y = 0; y < mask.rows; ++y)
    for (int x = 0; x < mask.cols; ++x) mask.at<uint8_t>(y, x) = keep[labels.at<int>(y, x)];
  return mask;
}

}  // namespace

Tensor saliency_map(const Tensor& image, const Tensor& counterfactual) {
  if (image.dim() != 4 || image.sizes() != counterfactual.sizes())
    fail(ErrorCode::kArgument,
         "saliency_map: image and counterfactual must both be [N,3,H,W] of the same shape");
  return (counterfactual - image).abs().mean(/*dim=*/1, /*keepdim=*/true);
}

Tensor smooth(const Tensor& saliency, double sigma) {
  check_maps(saliency, "smooth: saliency");
  if (sigma <= 0) return saliency;
  const Tensor input = contiguous_floats(saliency);
  Tensor output = torch::empty_like(input);
  for (int64_t n = 0; n < input.size(0); ++n) {
    cv::Mat target = view(output[n]);
    blur(view(input[n]), sigma).copyTo(target);
  }
  return output;
}

Tensor saliency_to_mask(const Tensor& saliency, const MaskOptions& options) {
  check_maps(saliency, "saliency_to_mask: saliency");
  const Tensor input = contiguous_floats(saliency);
  Tensor output = torch::empty_like(input);
  for (int64_t n = 0; n < input.size(0); ++n) {
    cv::Mat target = view(output[n]);
    threshold_and_clean(blur(view(input[n]), options.smoothing), options)
        .convertTo(target, CV_32F, 1.0 / 255);
  }
  return output;
}

cv::Mat mask_at_size(const Tensor& saliency, cv::Size size, const MaskOptions& options) {
  check_maps(saliency.unsqueeze(0), "mask_at_size: saliency");
  const Tensor input = contiguous_floats(saliency);
  return mask_at_size(view(input), size, options);
}

cv::Mat mask_at_size(const cv::Mat& saliency, cv::Size size, const MaskOptions& options) {
  TORCH_CHECK(saliency.type() == CV_32FC1, "a saliency map must be CV_32FC1");
  cv::Mat resized = blur(saliency, options.smoothing);
  if (resized.size() != size) cv::resize(resized, resized, size, 0, 0, cv::INTER_LINEAR);
  return threshold_and_clean(resized, options);
}

double otsu_threshold(const Tensor& values) {
  if (!values.defined() || values.numel() == 0)
    fail(ErrorCode::kArgument, "otsu_threshold: no values; give at least one");
  const Tensor flat = contiguous_floats(values).flatten();
  const double largest = flat.max().item<double>();
  if (!(largest > 0)) return 0;
  const double width = largest / kOtsuBins;
  std::vector<int64_t> counts(kOtsuBins);
  const float* data = flat.data_ptr<float>();
  for (int64_t i = 0; i < flat.numel(); ++i)
    ++counts[std::clamp(static_cast<int>(data[i] / width), 0, kOtsuBins - 1)];
  return otsu_threshold(counts, width);
}

double otsu_threshold(const std::vector<int64_t>& counts, double bin_width) {
  double total = 0, sum = 0;
  for (size_t bin = 0; bin < counts.size(); ++bin) {
    total += static_cast<double>(counts[bin]);
    sum += static_cast<double>(counts[bin]) * (static_cast<double>(bin) + 0.5);
  }
  if (total == 0) fail(ErrorCode::kArgument, "otsu_threshold: no values; give at least one");
  // w0 w1 (m0 - m1)^2 with w the shares below and above an edge and m their means. Empty bins
  // between two groups give equal variances: the middle of such a run is taken.
  double below = 0, below_sum = 0, best = 0;
  size_t first = 0, last = 0;
  for (size_t edge = 1; edge < counts.size(); ++edge) {
    below += static_cast<double>(counts[edge - 1]);
    below_sum += static_cast<double>(counts[edge - 1]) * (static_cast<double>(edge) - 0.5);
    if (below == 0 || below == total) continue;
    const double difference = below_sum / below - (sum - below_sum) / (total - below);
    const double variance = below * (total - below) * difference * difference;
    const bool extends_run = last + 1 == edge && counts[edge - 1] == 0 && variance == best;
    if (variance > best) first = edge;
    if (variance > best || extends_run) last = edge;
    best = std::max(best, variance);
  }
  if (best == 0) {  // one occupied bin only: nothing to tell apart, so nothing lies above
    const auto occupied = std::find_if(counts.begin(), counts.end(), [](auto c) { return c > 0; });
    return bin_width * static_cast<double>(occupied - counts.begin() + 1);
  }
  return bin_width * 0.5 * static_cast<double>(first + last);
}

std::vector<Box> mask_boxes(const cv::Mat& mask) {
  cv::Mat labels, stats, centroids;
  const int count = cv::connectedComponentsWithStats(mask, labels, stats, centroids, 8, CV_32S);
  std::vector<Box> boxes;
  for (int label = 1; label < count; ++label) {
    const int* row = stats.ptr<int>(label);
    boxes.push_back({row[cv::CC_STAT_LEFT], row[cv::CC_STAT_TOP], row[cv::CC_STAT_WIDTH],
                     row[cv::CC_STAT_HEIGHT], row[cv::CC_STAT_AREA]});
  }
  std::stable_sort(boxes.begin(), boxes.end(),
                   [](const Box& a, const Box& b) { return a.area > b.area; });
  return boxes;
}

std::vector<Box> mask_boxes(const Tensor& mask) {
  check_maps(mask.unsqueeze(0), "mask_boxes: mask");
  const Tensor input = contiguous_floats(mask);
  return mask_boxes(cv::Mat(view(input) > 0.5));
}

}  // namespace flipside
