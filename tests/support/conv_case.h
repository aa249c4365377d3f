#pragma once

#include <cstdint>
#include <string>

namespace flipside {

/// Sizes of an image batch and of a convolution's kernel: 4x4 ones halve the image.
struct ConvCase {
  int64_t n, channels, out, height, width, side;
};

inline std::string name_of(const ConvCase& k) {
  return std::to_string(k.channels) + " to " + std::to_string(k.out) + " channels, " +
         std::to_string(k.height) + "x" + std::to_string(k.width);
}

}  // namespace flipside
