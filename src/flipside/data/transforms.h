#pragma once

#include <functional>

#include "flipside/config/config.h"
#include "flipside/core/random.h"
#include "flipside/data/picture.h"

namespace flipside {

/// Randomness is an argument, never a global. Square pictures; the input's pixels stay as they are.
using Transform = std::function<Picture(Picture, Rng&)>;

/// Flips, right-angle turns, zoom and shift (one warp, reflected at the border; mask nearest
/// neighbour) and light (gain and offset, tint of images that have colours), each as far as
/// `config` allows. Exact (no interpolation) when zoom and shift are 0.
Transform training_transform(const DataConfig& config);

}  // namespace flipside
