#include <algorithm>
#include <array>

#include "flipside/eval/evaluator.h"

namespace flipside {
namespace {

/// Luma of 8-bit RGB (ITU-R BT.601), [H,W] uint8.
Tensor gray_of(const Tensor& image) {
  const Tensor bytes = image.detach().to(torch::kCPU, torch::kFloat32).clamp(0, 1).mul(255).round();
  const Tensor luma = 0.299 * bytes[0] + 0.587 * bytes[1] + 0.114 * bytes[2];
  return luma.round().to(torch::kUInt8).contiguous();
}

/// A count of values that knows its median: adding and taking away moves it step by step.
class RunningMedian {
 public:
  void add(uint8_t value, int count) {
    counts_[value] += count;
    total_ += count;
    if (value < median_) below_ += count;
  }
  /// The middle one of an odd number of values.
  uint8_t median() {
    while (2 * below_ > total_) below_ -= counts_[--median_];
    while (2 * (below_ + counts_[median_]) < total_) below_ += counts_[median_++];
    return static_cast<uint8_t>(median_);
  }

 private:
  std::array<int, 256> counts_{};
  int total_ = 0, median_ = 0, below_ = 0;  ///< `below_`: how many values are less than `median_`
};

/// Median over a square window of odd side (Huang et al. 1979), the border continued outwards.
Tensor median_filter(const Tensor& gray, int64_t window) {
  const int64_t height = gray.size(0), width = gray.size(1), reach = window / 2;
  Tensor result = torch::empty_like(gray);
  const uint8_t* from = gray.data_ptr<uint8_t>();
  uint8_t* to = result.data_ptr<uint8_t>();
  for (int64_t y = 0; y < height; ++y) {
    RunningMedian values;
    const auto add_column = [&](int64_t x, int count) {
      const int64_t column = std::clamp<int64_t>(x, 0, width - 1);
      for (int64_t v = y - reach; v <= y + reach; ++v)
        values.add(from[std::clamp<int64_t>(v, 0, height - 1) * width + column], count);
    };
    for (int64_t x = -reach; x < reach; ++x) add_column(x, 1);
    for (int64_t x = 0; x < width; ++x) {
      add_column(x + reach, 1);
      *to++ = values.median();
      add_column(x - reach, -1);
    }
  }
  return result;
}

}  // namespace

Tensor darkness_map(const Tensor& images) {
  Tensor maps = torch::empty({images.size(0), 1, images.size(2), images.size(3)});
  // A quarter of the image is wide enough that no crack fills half of the window.
  const int64_t window = std::max<int64_t>(3, std::min(images.size(2), images.size(3)) / 4 | 1);
  for (int64_t n = 0; n < images.size(0); ++n) {
    const Tensor gray = gray_of(images[n]);
    const Tensor darker = median_filter(gray, window).to(torch::kFloat32) - gray;
    maps[n][0].copy_(darker.clamp_min(0) / 255);
  }
  return maps;
}

}  // namespace flipside
