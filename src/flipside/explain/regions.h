#pragma once

#include <cstdint>
#include <vector>

namespace flipside {

/// A connected region of a mask, in pixels.
struct Box {
  int64_t x = 0, y = 0, width = 0, height = 0, area = 0;
};

/// The 8-connected regions of a mask's nonzero pixels, in the order of their first pixels, row by
/// row.
struct Regions {
  std::vector<int32_t> labels;  ///< [height * width]: 0 or the region's number, from 1
  std::vector<Box> boxes;       ///< region i + 1's bounds and number of pixels
};
Regions find_regions(const uint8_t* mask, int64_t height, int64_t width);

}  // namespace flipside
