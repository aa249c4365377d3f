#include "flipside/explain/measure.h"

#include <algorithm>
#include <cmath>
#include <opencv2/imgproc.hpp>

#include "flipside/explain/thinning.h"

namespace flipside {
namespace {

constexpr int kSmoothing = 4;  // pixels to each side: takes the steps out of slanted lines

/// Neighbours of the framed skeleton's pixel that a line goes on to, as bits: a diagonal one only
/// where no pixel beside both bridges it.
uint8_t links(const cv::Mat& skeleton, int x, int y) {
  const uint8_t n = neighbour_bits(skeleton, x, y);
  uint8_t result = n & 0x55;  // along the axes
  for (int i = 1; i < 8; i += 2) {
    const uint8_t beside = static_cast<uint8_t>(1 << (i - 1) | 1 << ((i + 1) & 7));
    if ((n & beside) == 0) result |= n & static_cast<uint8_t>(1 << i);
  }
  return result;
}

int count_bits(uint8_t bits) {
  int count = 0;
  for (; bits != 0; bits = static_cast<uint8_t>(bits & (bits - 1))) ++count;
  return count;
}

/// A mask with a border of zeros, so that every pixel has eight neighbours.
cv::Mat framed(const cv::Mat& mask) {
  cv::Mat result;
  cv::copyMakeBorder(mask, result, 1, 1, 1, 1, cv::BORDER_CONSTANT, cv::Scalar(0));
  return result;
}

template <typename Visit>
void for_each_pixel(const cv::Mat& mask, Visit visit) {
  for (int y = 1; y < mask.rows - 1; ++y)
    for (int x = 1; x < mask.cols - 1; ++x)
      if (mask.at<uint8_t>(y, x) != 0) visit(x, y);
}

/// Pixels from the line's end `start` up to the fork it leads to, which is not among them; empty
/// where it leads to another end. `root` is the fork.
std::vector<cv::Point> branch_from(const cv::Mat& skeleton, cv::Point start, cv::Point& root) {
  std::vector<cv::Point> branch{start};
  cv::Point before = start;
  while (true) {
    const cv::Point at = branch.back();
    const uint8_t onward = links(skeleton, at.x, at.y);
    cv::Point next = at;
    for (int i = 0; i < 8; ++i) {
      const cv::Point other(at.x + kNeighbours[i][0], at.y + kNeighbours[i][1]);
      if ((onward >> i & 1) != 0 && other != before) next = other;
    }
    if (next == at) return {};
    if (count_bits(links(skeleton, next.x, next.y)) > 2) {
      root = next;
      return branch;
    }
    before = at;
    branch.push_back(next);
  }
}

double distance(cv::Point a, cv::Point b) { return std::hypot(a.x - b.x, a.y - b.y); }

/// Width of the region about each of its pixels: the diameter of the largest disc within it whose
/// centre lies on the pixel or beside it, since thinning may miss the middle by a pixel. On pixels
/// of half the size, where the middle of an even number of pixels is one too: from it to the centre
/// of the first pixel outside it is as many half pixels as the region is wide in whole ones.
cv::Mat width_map(const cv::Mat& mask) {
  cv::Mat fine, distances, widths(mask.size(), CV_32FC1);
  cv::resize(framed(mask), fine, {}, 2, 2, cv::INTER_NEAREST);
  cv::distanceTransform(fine, distances, cv::DIST_L2, cv::DIST_MASK_PRECISE);
  for (int y = 0; y < mask.rows; ++y) {
    const auto* upper = distances.ptr<float>(2 * y + 2) + 2;
    const auto* lower = distances.ptr<float>(2 * y + 3) + 2;
    auto* width = widths.ptr<float>(y);
    for (int x = 0; x < mask.cols; ++x, upper += 2, lower += 2)
      width[x] = std::max(std::max(upper[0], upper[1]), std::max(lower[0], lower[1]));
  }
  cv::dilate(widths, widths, cv::Mat());  // maximum over 3x3 pixels
  return widths;
}

/// Length of a line through pixels, each moved to the mean of its neighbours on the line; its ends
/// stay where they are.
double smoothed_length(const std::vector<cv::Point>& line) {
  const auto last = static_cast<int>(line.size()) - 1;
  const auto smoothed = [&](int i) {
    const int reach = std::min({kSmoothing, i, last - i});
    cv::Point2d sum(0, 0);
    for (int j = i - reach; j <= i + reach; ++j) sum += cv::Point2d(line[j]);
    return sum / (2 * reach + 1);
  };
  double length = 0;
  cv::Point2d before = line[0];
  for (int i = 1; i <= last; ++i) {
    const cv::Point2d here = smoothed(i);
    length += std::hypot(here.x - before.x, here.y - before.y);
    before = here;
  }
  return length;
}

/// Takes a line's links out of `open` from `start` on, to its end, a fork, or round to `start`.
std::vector<cv::Point> take_line(const cv::Mat& skeleton, cv::Mat& open, cv::Point start) {
  std::vector<cv::Point> line{start};
  while (open.at<uint8_t>(line.back()) != 0) {
    const cv::Point at = line.back();
    int way = 0;
    while ((open.at<uint8_t>(at) >> way & 1) == 0) ++way;
    const cv::Point next(at.x + kNeighbours[way][0], at.y + kNeighbours[way][1]);
    open.at<uint8_t>(at) &= static_cast<uint8_t>(~(1 << way));
    open.at<uint8_t>(next) &= static_cast<uint8_t>(~(1 << ((way + 4) & 7)));
    line.push_back(next);
    if (count_bits(links(skeleton, next.x, next.y)) != 2) break;
  }
  return line;
}

/// `visit(first pixel, length)` for each line between ends and forks, and for each closed one.
template <typename Visit>
void for_each_line(const cv::Mat& skeleton, Visit visit) {
  cv::Mat open = cv::Mat::zeros(skeleton.size(), CV_8UC1);
  for_each_pixel(skeleton, [&](int x, int y) { open.at<uint8_t>(y, x) = links(skeleton, x, y); });
  for (bool closed : {false, true})  // what no end or fork leads to is closed
    for_each_pixel(skeleton, [&](int x, int y) {
      if (!closed && count_bits(links(skeleton, x, y)) == 2) return;
      while (open.at<uint8_t>(y, x) != 0)
        visit(cv::Point(x, y), smoothed_length(take_line(skeleton, open, {x, y})));
    });
}

/// Adds one pixel of the centre line; `region.mean_width` holds the sum until all are there.
void add_pixel(const cv::Mat& skeleton, int x, int y, double width, Region& region) {
  region.mean_width += width;
  region.max_width = std::max(region.max_width, width);
  // Thinning stops half a width before an end; a single pixel is both ends at once.
  const int neighbours = count_bits(neighbour_bits(skeleton, x, y));
  if (neighbours < 2) region.length += (2 - neighbours) * width / 2;
}

}  // namespace

double skeleton_length(const cv::Mat& skeleton) {
  double total = 0;
  for_each_line(framed(skeleton), [&](cv::Point, double length) { total += length; });
  return total;
}

void remove_spurs(cv::Mat& skeleton, const cv::Mat& width) {
  bool changed = true;
  while (changed) {
    changed = false;
    std::vector<std::vector<cv::Point>> spurs;
    for_each_pixel(skeleton, [&](int x, int y) {
      if (count_bits(links(skeleton, x, y)) != 1) return;
      cv::Point root;
      const auto branch = branch_from(skeleton, {x, y}, root);
      if (branch.empty()) return;
      const double reach = distance(branch.front(), root) + width.at<float>(y, x) / 2;
      if (reach <= width.at<float>(root)) spurs.push_back(branch);
    });
    for (const auto& spur : spurs) {
      for (const auto& pixel : spur) skeleton.at<uint8_t>(pixel) = 0;
      changed = true;
    }
    if (changed) remove_corners(skeleton);
  }
}

std::vector<Region> measure_regions(const cv::Mat& mask) {
  cv::Mat labels, stats, centroids;
  const int count = cv::connectedComponentsWithStats(mask, labels, stats, centroids, 8, CV_32S);
  if (count <= 1) return {};
  std::vector<Region> regions(count);
  std::vector<int64_t> pixels(count);
  // Regions do not touch, so one centre line and one width map serve all of them.
  const cv::Rect used = cv::boundingRect(mask);
  const cv::Mat width = framed(width_map(mask(used)));
  cv::Mat skeleton = framed(thin(mask(used)));
  remove_spurs(skeleton, width);
  const auto label_at = [&](int x, int y) {
    return labels.at<int>(used.y + y - 1, used.x + x - 1);
  };
  for_each_pixel(skeleton, [&](int x, int y) {
    add_pixel(skeleton, x, y, width.at<float>(y, x), regions[label_at(x, y)]);
    ++pixels[label_at(x, y)];
  });
  for_each_line(skeleton, [&](cv::Point pixel, double length) {
    regions[label_at(pixel.x, pixel.y)].length += length;
  });
  for (int label = 1; label < count; ++label) {
    const int* row = stats.ptr<int>(label);
    regions[label].box = {row[cv::CC_STAT_LEFT], row[cv::CC_STAT_TOP], row[cv::CC_STAT_WIDTH],
                          row[cv::CC_STAT_HEIGHT], row[cv::CC_STAT_AREA]};
    regions[label].mean_width /= static_cast<double>(pixels[label]);
  }
  regions.erase(regions.begin());  // the background
  std::stable_sort(regions.begin(), regions.end(),
                   [](const Region& a, const Region& b) { return a.box.area > b.box.area; });
  return regions;
}

}  // namespace flipside
