#pragma once

#include <cstdint>
#include <opencv2/core.hpp>
#include <string>
#include <vector>

#include "flipside/data/dataset.h"

namespace flipside {

/// What reading one image and its mask tells about them.
struct ImageFacts {
  Split split = Split::kTrain;
  ImageRecord record;
  std::string problem;        ///< why the image cannot be read; the rest is then unset
  std::string mask_problem;   ///< why its mask cannot be used
  cv::Size size;              ///< pixels
  uint64_t hash = 0;          ///< of size and decoded pixels
  double brightness = 0;      ///< mean over pixels and channels, [0,1]
  double warmth = 0;          ///< log of mean red over mean blue, 0 for greys
  int brightest = 255;        ///< largest value of any channel
  int64_t bytes = 0;          ///< file size
  bool mask_is_empty = true;  ///< no defect pixel, or no mask
};

/// Reads all images of all splits, on all processors.
std::vector<ImageFacts> gather_facts(const ImageFolder& folder);

}  // namespace flipside
