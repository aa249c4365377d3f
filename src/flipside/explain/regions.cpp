#include "flipside/explain/regions.h"

#include <algorithm>

namespace flipside {
namespace {

/// Fills the region of `start` with `label`, and gives its bounds and area.
Box flood(const uint8_t* mask, int64_t height, int64_t width, int64_t start, int32_t label,
          std::vector<int32_t>& labels, std::vector<int64_t>& waiting) {
  int64_t left = width, right = 0, top = height, bottom = 0, area = 0;
  labels[start] = label;
  waiting.push_back(start);
  while (!waiting.empty()) {
    const int64_t y = waiting.back() / width, x = waiting.back() % width;
    waiting.pop_back();
    ++area;
    left = std::min(left, x);
    right = std::max(right, x);
    top = std::min(top, y);
    bottom = std::max(bottom, y);
    for (int64_t v = std::max<int64_t>(y - 1, 0); v <= std::min(y + 1, height - 1); ++v)
      for (int64_t u = std::max<int64_t>(x - 1, 0); u <= std::min(x + 1, width - 1); ++u) {
        const int64_t place = v * width + u;
        if (mask[place] == 0 || labels[place] != 0) continue;
        labels[place] = label;
        waiting.push_back(place);
      }
  }
  return {left, top, right - left + 1, bottom - top + 1, area};
}

}  // namespace

Regions find_regions(const uint8_t* mask, int64_t height, int64_t width) {
  Regions regions;
  regions.labels.resize(height * width);
  std::vector<int64_t> waiting;
  for (int64_t place = 0; place < height * width; ++place) {
    if (mask[place] == 0 || regions.labels[place] != 0) continue;
    const auto label = static_cast<int32_t>(regions.boxes.size() + 1);
    regions.boxes.push_back(flood(mask, height, width, place, label, regions.labels, waiting));
  }
  return regions;
}

}  // namespace flipside
