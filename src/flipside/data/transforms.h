#pragma once

#include <functional>
#include <opencv2/core.hpp>

#include "flipside/config/config.h"
#include "flipside/core/random.h"

namespace flipside {

/// An image with its mask before it becomes a tensor: CV_8UC3 RGB and CV_8UC1 0/255 (empty where
/// there is none), of equal size.
struct Picture {
  cv::Mat image, mask;
};

/// Randomness is an argument, never a global.
using Transform = std::function<Picture(Picture, Rng&)>;

/// Flips, right-angle turns, zoom and shift (one warp, reflected at the border; mask nearest
/// neighbour) and light (gain and offset), each as far as `config` allows. Exact (no
/// interpolation) when zoom and shift are 0.
Transform training_transform(const DataConfig& config);

}  // namespace flipside
