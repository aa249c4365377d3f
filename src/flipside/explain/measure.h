#pragma once

#include <opencv2/core.hpp>
#include <vector>

#include "flipside/explain/mask.h"

namespace flipside {

/// A connected region of a mask with its measures (docs/equations.md, "Measures of defects"). All
/// lengths in pixels of the mask. Length and widths are those of the region's centre line: what one
/// measures on a crack. On a disc both are its diameter.
struct Region {
  Box box;                ///< bounding box and area
  double length = 0;      ///< of all branches of the centre line together
  double mean_width = 0;  ///< over the centre line's pixels
  double max_width = 0;   ///< diameter of the largest disc about a pixel of the centre line
};

/// The 8-connected regions of nonzero pixels of a mask CV_8UC1, largest area first, in the order of
/// `mask_boxes`.
std::vector<Region> measure_regions(const cv::Mat& mask);

/// Length of the lines of a thinned mask in pixels, from centre to centre of their outermost
/// pixels: each line between ends and forks has its pixels moved to the mean of up to four to each
/// side first, without which the steps of a slanted line would make it up to 8 % longer.
double skeleton_length(const cv::Mat& skeleton);

/// Takes branches off a thinned mask that end blindly no further from where they begin than the
/// region is wide there: corners and rough borders make them. `width` CV_32FC1: width of the region
/// by pixel of the skeleton. The outermost pixels of both must be 0.
void remove_spurs(cv::Mat& skeleton, const cv::Mat& width);

}  // namespace flipside
