#include "flipside/explain/thinning.h"

#include <algorithm>
#include <vector>

#include "flipside/core/torch.h"

namespace flipside {
namespace {

bool is_set(uint8_t neighbours, int number) { return (neighbours >> (number & 7) & 1) != 0; }

/// Pairs of successive neighbours of which one is set at least, from neighbour `first` on.
int pair_count(uint8_t neighbours, int first) {
  int count = 0;
  for (int i = first; i < first + 8; i += 2)
    count += is_set(neighbours, i) || is_set(neighbours, i + 1);
  return count;
}

/// Guo and Hall's three conditions; `turn` 0 takes pixels off from one side, 1 from the other.
bool is_deletable(uint8_t n, int turn) {
  const int pairs = std::min(pair_count(n, 7), pair_count(n, 0));
  if (crossing_number(n) != 1 || pairs < 2 || pairs > 3) return false;
  // P2..P9 of the paper are neighbours 0..7.
  return turn == 0 ? !((is_set(n, 0) || is_set(n, 1) || !is_set(n, 3)) && is_set(n, 2))
                   : !((is_set(n, 4) || is_set(n, 5) || !is_set(n, 7)) && is_set(n, 6));
}

/// `is_deletable` of every neighbourhood, by turn.
std::array<std::array<bool, 256>, 2> deletable_table() {
  std::array<std::array<bool, 256>, 2> table{};
  for (int turn = 0; turn < 2; ++turn)
    for (int n = 0; n < 256; ++n) table[turn][n] = is_deletable(static_cast<uint8_t>(n), turn);
  return table;
}

/// The work of thinning: pixels to look at in each turn, every one at most once.
class Thinner {
 public:
  /// `mask`: 0 and 1, a border of zeros around it.
  explicit Thinner(cv::Mat& mask)
      : mask_(mask), waiting_(mask.size(), CV_8UC1, cv::Scalar(0)), table_(deletable_table()) {
    for (int y = 1; y < mask.rows - 1; ++y)
      for (int x = 1; x < mask.cols - 1; ++x)
        if (mask.at<uint8_t>(y, x) != 0 && neighbour_bits(mask, x, y) != 255) add({x, y});
  }
  void run() {
    for (int turn = 0; !queues_[0].empty() || !queues_[1].empty(); turn = 1 - turn) step(turn);
  }

 private:
  /// One parallel turn: all pixels are judged before any is taken away. A pixel that may stay need
  /// not be looked at again until a neighbour goes.
  void step(int turn) {
    std::vector<cv::Point> gone;
    for (const auto& pixel : queues_[turn]) {
      waiting_.at<uint8_t>(pixel) &= static_cast<uint8_t>(~(1 << turn));
      if (mask_.at<uint8_t>(pixel) != 0 && table_[turn][neighbour_bits(mask_, pixel.x, pixel.y)])
        gone.push_back(pixel);
    }
    queues_[turn].clear();
    for (const auto& pixel : gone) mask_.at<uint8_t>(pixel) = 0;
    for (const auto& pixel : gone)
      for (const auto& [dx, dy] : kNeighbours) add({pixel.x + dx, pixel.y + dy});
  }

  void add(cv::Point pixel) {
    if (mask_.at<uint8_t>(pixel) == 0) return;
    uint8_t& waiting = waiting_.at<uint8_t>(pixel);
    for (int turn = 0; turn < 2; ++turn)
      if ((waiting >> turn & 1) == 0) queues_[turn].push_back(pixel);
    waiting = 3;
  }

  cv::Mat& mask_;
  cv::Mat waiting_;  ///< bit `turn`: in that turn's queue
  std::array<std::array<bool, 256>, 2> table_;
  std::array<std::vector<cv::Point>, 2> queues_;
};

}  // namespace

uint8_t neighbour_bits(const cv::Mat& mask, int x, int y) {
  const auto* above = mask.ptr<uint8_t>(y - 1) + x;
  const auto* row = mask.ptr<uint8_t>(y) + x;
  const auto* below = mask.ptr<uint8_t>(y + 1) + x;
  return static_cast<uint8_t>((above[0] != 0) | (above[1] != 0) << 1 | (row[1] != 0) << 2 |
                              (below[1] != 0) << 3 | (below[0] != 0) << 4 | (below[-1] != 0) << 5 |
                              (row[-1] != 0) << 6 | (above[-1] != 0) << 7);
}

int crossing_number(uint8_t neighbours) {
  int count = 0;
  for (int i = 0; i < 8; i += 2)
    count += !is_set(neighbours, i) && (is_set(neighbours, i + 1) || is_set(neighbours, i + 2));
  return count;
}

void remove_corners(cv::Mat& skeleton) {
  bool changed = true;
  while (changed) {  // a corner that goes can make one of a pixel passed before
    changed = false;
    for (int y = 1; y < skeleton.rows - 1; ++y)
      for (int x = 1; x < skeleton.cols - 1; ++x) {
        uint8_t& pixel = skeleton.at<uint8_t>(y, x);
        if (pixel == 0) continue;
        const uint8_t n = neighbour_bits(skeleton, x, y);
        const bool is_end = (n & (n - 1)) == 0;  // one neighbour or none
        if (is_end || crossing_number(n) != 1) continue;
        pixel = 0;
        changed = true;
      }
  }
}

cv::Mat thin(const cv::Mat& mask) {
  TORCH_CHECK(mask.type() == CV_8UC1, "a mask must be CV_8UC1");
  if (mask.empty()) return mask.clone();
  cv::Mat framed;
  cv::copyMakeBorder(mask != 0, framed, 1, 1, 1, 1, cv::BORDER_CONSTANT, cv::Scalar(0));
  Thinner(framed).run();
  remove_corners(framed);
  return framed(cv::Rect(1, 1, mask.cols, mask.rows)).clone();
}

}  // namespace flipside
