#pragma once

#include <array>
#include <cstdint>
#include <opencv2/core.hpp>

namespace flipside {

/// The eight neighbours of a pixel clockwise from the one above, as bits 0 to 7 of a byte.
constexpr std::array<std::array<int, 2>, 8> kNeighbours{
    {{0, -1}, {1, -1}, {1, 0}, {1, 1}, {0, 1}, {-1, 1}, {-1, 0}, {-1, -1}}};  // x, y

/// Which neighbours of (x, y) are nonzero, as bits; (x, y) must not lie on the mask's border.
uint8_t neighbour_bits(const cv::Mat& mask, int x, int y);

/// Crossing number of Guo and Hall: how many 8-connected groups the neighbours form, where a group
/// that meets the pixel by a corner alone counts too. Where it is 1 the pixel can go without
/// joining or parting anything.
int crossing_number(uint8_t neighbours);

/// The centre lines of a mask (CV_8UC1, nonzero = foreground): a mask of 0 and 255 of the same size
/// with the same 8-connected regions and the same holes, in which no pixel but the ends of lines
/// could be taken away without changing that. Guo and Hall's parallel thinning (1989, algorithm
/// A1), pixels visited only where their neighbourhood has changed, and a pass that takes the
/// corners off staircases. Beyond the image there is no foreground.
cv::Mat thin(const cv::Mat& mask);

/// Takes the redundant pixels off lines in place: those whose removal changes neither regions nor
/// holes and that are no end of a line. The mask's outermost pixels must be 0.
void remove_corners(cv::Mat& skeleton);

}  // namespace flipside
