#pragma once

#include "flipside/core/torch.h"

namespace flipside {

/// Width and height in pixels; both 0 where they are not known.
struct ImageSize {
  int64_t width = 0, height = 0;
};
inline bool operator==(const ImageSize& a, const ImageSize& b) {
  return a.width == b.width && a.height == b.height;
}

/// An image with its mask before it becomes floats: contiguous uint8 on the CPU, [H,W,3] RGB and
/// [H,W] of 0 and 255 (undefined where there is none). Copies share their pixels.
struct Picture {
  Tensor image, mask;
};

}  // namespace flipside
