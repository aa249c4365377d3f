#include "flipside/explain/mask.h"

#include <algorithm>
#include <cmath>

#include "flipside/core/error.h"
#include "flipside/core/numbers.h"
#include "flipside/train/losses.h"

namespace flipside {
namespace {

constexpr int kOtsuBins = 1024;

void check_maps(const Tensor& maps, const char* name) {
  if (!maps.defined() || maps.dim() != 4 || maps.size(1) != 1 || maps.numel() == 0)
    fail(ErrorCode::kArgument, "{}: must be a tensor [N,1,H,W] without empty sides", name);
}

Tensor contiguous_floats(const Tensor& maps) {
  return maps.detach().to(torch::kCPU, torch::kFloat32).contiguous();
}

/// Gaussian weights of the pixels -radius..radius, of sum 1; beyond four sigma nothing counts.
std::vector<float> gaussian_weights(double sigma) {
  const auto radius = std::max<int64_t>(1, std::lround(8 * sigma + 1) / 2);
  std::vector<double> raw;
  double sum = 0;
  for (int64_t i = -radius; i <= radius; ++i) {
    raw.push_back(std::exp(-0.5 * static_cast<double>(i * i) / (sigma * sigma)));
    sum += raw.back();
  }
  std::vector<float> weights;
  for (double value : raw) weights.push_back(static_cast<float>(value / sum));
  return weights;
}

/// The sum of `weights[k]` times the `length` values from `values_at(k)` on, over all k.
template <class ValuesAt>
void weighted_sum(const std::vector<float>& weights, const ValuesAt& values_at, int64_t length,
                  float* to) {
  std::fill_n(to, length, 0.0f);
  for (size_t k = 0; k < weights.size(); ++k) {
    const float* from = values_at(static_cast<int64_t>(k));
    for (int64_t i = 0; i < length; ++i) to[i] += weights[k] * from[i];
  }
}

/// One map, along its columns and then along its rows.
void blur(const float* from, float* to, int64_t height, int64_t width,
          const std::vector<float>& weights) {
  const auto radius = static_cast<int64_t>(weights.size() / 2);
  std::vector<float> line(width + 2 * radius);
  for (int64_t y = 0; y < height; ++y) {
    const auto row = [&](int64_t k) { return from + mirrored(y + k - radius, height) * width; };
    weighted_sum(weights, row, width, line.data() + radius);
    for (int64_t i = 1; i <= radius; ++i) {
      line[radius - i] = line[radius + mirrored(-i, width)];
      line[radius + width - 1 + i] = line[radius + mirrored(width - 1 + i, width)];
    }
    weighted_sum(
        weights, [&](int64_t k) { return line.data() + k; }, width, to + y * width);
  }
}

/// Where marks begin in a map of these values.
double threshold_for(const float* values, int64_t pixels, const MaskOptions& options) {
  if (options.faint_share <= 0) return options.threshold;
  const double largest = *std::max_element(values, values + pixels);
  const double lower = std::max(options.faint_share * largest, kFaintest * options.threshold);
  if (lower >= options.threshold) return options.threshold;
  const auto most = static_cast<int64_t>(kFaintArea * static_cast<double>(pixels));
  if (most == 0) return options.threshold;
  std::vector<float> sorted(values, values + pixels);
  std::nth_element(sorted.begin(), sorted.end() - most, sorted.end());
  return std::clamp<double>(*(sorted.end() - most), lower, options.threshold);
}

/// The values at or above the threshold as 0 and 1, without the small regions, in place.
void threshold_and_clean(Tensor map, const MaskOptions& options) {
  float* values = map.data_ptr<float>();
  const int64_t height = map.size(-2), width = map.size(-1), pixels = height * width;
  const auto threshold = static_cast<float>(threshold_for(values, pixels, options));
  std::vector<uint8_t> mask(pixels);
  for (int64_t i = 0; i < pixels; ++i) mask[i] = values[i] >= threshold;
  const double min_pixels = options.min_area * static_cast<double>(pixels);
  if (min_pixels > 1) {
    const Regions regions = find_regions(mask.data(), height, width);
    for (int64_t i = 0; i < pixels; ++i) {
      const int32_t label = regions.labels[i];
      if (label > 0 && static_cast<double>(regions.boxes[label - 1].area) < min_pixels) mask[i] = 0;
    }
  }
  for (int64_t i = 0; i < pixels; ++i) values[i] = mask[i];
}

}  // namespace

Tensor saliency_map(const Tensor& image, const Tensor& counterfactual, bool without_cast) {
  if (image.dim() != 4 || image.sizes() != counterfactual.sizes())
    fail(ErrorCode::kArgument,
         "saliency_map: image and counterfactual must both be [N,3,H,W] of the same shape");
  Tensor change = counterfactual - image;
  if (without_cast) change = change - common_change(change);
  return change.abs().mean(/*dim=*/1, /*keepdim=*/true).clamp_max(1);
}

Tensor smooth(const Tensor& saliency, double sigma) {
  check_maps(saliency, "smooth: saliency");
  if (sigma <= 0) return saliency;
  const Tensor input = contiguous_floats(saliency), output = torch::empty_like(input);
  const auto weights = gaussian_weights(sigma);
  const int64_t height = input.size(2), width = input.size(3);
  for (int64_t n = 0; n < input.size(0); ++n)
    blur(input[n].data_ptr<float>(), output[n].data_ptr<float>(), height, width, weights);
  return output;
}

Tensor saliency_to_mask(const Tensor& saliency, const MaskOptions& options) {
  check_maps(saliency, "saliency_to_mask: saliency");
  Tensor output = contiguous_floats(saliency).clone();
  for (int64_t n = 0; n < output.size(0); ++n) threshold_and_clean(output[n], options);
  return output;
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

std::vector<Box> mask_boxes(const Tensor& mask) {
  check_maps(mask.unsqueeze(0), "mask_boxes: mask");
  const Tensor bytes = (mask.detach().cpu() > 0.5).to(torch::kUInt8).contiguous();
  std::vector<Box> boxes =
      find_regions(bytes.data_ptr<uint8_t>(), bytes.size(-2), bytes.size(-1)).boxes;
  std::stable_sort(boxes.begin(), boxes.end(),
                   [](const Box& a, const Box& b) { return a.area > b.area; });
  return boxes;
}

}  // namespace flipside
