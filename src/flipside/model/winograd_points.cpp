#include "flipside/model/winograd_points.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <cstring>

namespace flipside {
namespace {

using kernels::kPanel;
using kernels::kTile;
using kernels::Seen;
using kernels::Square;

constexpr int64_t kMostPoints = 36, kMostTaps = 9;
// Floats between points: a cache line, so that a tile's points do not fall into the same few places
// of a core's nearest cache.
constexpr int64_t kGap = 16;

/// One tile's pixels in x (of one phase) and in y.
struct TilePlace {
  const WinogradSizes& s;
  int64_t image, row, col;  // of the tile's first output

  TilePlace(const WinogradSizes& sizes, int64_t tile)
      : s(sizes),
        image(tile / sizes.tiles()),
        row(tile % sizes.tiles() / sizes.tiles_x * kTile),
        col(tile % sizes.tiles_x * kTile) {}

  void input(int64_t phase, int64_t* places) const {
    const int64_t y = s.stride * row - 1 + phase / s.stride;
    const int64_t x = s.stride * col - 1 + phase % s.stride;
    place(y, x, s.stride, s.points, s.height, s.width, s.channels, places);
  }
  void output(int64_t* places) const {
    place(row, col, /*step=*/1, kTile, s.out_height, s.out_width, s.out, places);
  }

 private:
  static void place(int64_t y, int64_t x, int64_t step, int64_t count, int64_t height,
                    int64_t width, int64_t channels, int64_t* places) {
    for (int64_t i = 0; i < count; ++i)
      for (int64_t j = 0; j < count; ++j) {
        const int64_t v = y + i * step, u = x + j * step;
        const bool inside = v >= 0 && v < height && u >= 0 && u < width;
        *places++ = inside ? (v * width + u) * channels : -1;
      }
  }
};

/// The places of the taps of one phase in a kernel whose taps lie `step` apart.
void place_taps(const WinogradSizes& s, int64_t phase, int64_t step, int64_t* places) {
  for (int64_t i = 0; i < s.taps; ++i)
    for (int64_t j = 0; j < s.taps; ++j) {
      const int64_t row = s.stride * i + phase / s.stride, col = s.stride * j + phase % s.stride;
      *places++ = (row * s.side() + col) * step;
    }
}

/// Rows of a panel at all points, gathered in a core's nearest cache: written one by one they would
/// fall into as many distant pages, which share few places of that cache.
class PanelRows {
 public:
  static constexpr int64_t kRows = 8;

  explicit PanelRows(const WinogradSizes& s) : s_(s), size_(s.out * s.depth()) {}

  /// Takes one row's taps: those of `phase` that lie `step` apart, `count` columns from `col` on.
  void read(int64_t row, const float* taps, int64_t phase, int64_t step, int64_t col,
            int64_t count) {
    int64_t places[kMostTaps];
    place_taps(s_, phase, step, places);
    kernels::to_points(Seen::kTaps, s_.taps, {places, count, kRows * kPanel}, taps,
                       rows_ + row * kPanel + col);
  }
  /// Writes all rows; `panels` is the first one's place at the first point.
  void write(float* panels) const {
    for (int64_t point = 0; point < s_.all_points(); ++point)
      std::memcpy(panels + point * size_, rows_ + point * kRows * kPanel,
                  sizeof(float) * kRows * kPanel);
  }

 private:
  const WinogradSizes& s_;
  int64_t size_;  // of one point's panels
  float rows_[kMostPoints * kRows * kPanel];
};

}  // namespace

WinogradSizes::WinogradSizes(const Tensor& x, const Tensor& weight)
    : n(x.size(0)),
      channels(x.size(1)),
      height(x.size(2)),
      width(x.size(3)),
      out(weight.size(0)),
      stride(weight.size(2) == 4 ? 2 : 1),
      taps(stride == 2 ? 2 : 3),
      points(kernels::winograd_points(taps)) {
  out_height = height / stride;
  out_width = width / stride;
  tiles_y = (out_height + kTile - 1) / kTile;
  tiles_x = (out_width + kTile - 1) / kTile;
}

/// So many that what they become fits a core's cache, in whole blocks of `multiply`, or all.
int64_t WinogradSizes::tiles_at_once() const {
  constexpr int64_t kFloats = 1 << 16, kBlock = 12;
  const int64_t fitting = kFloats / (all_points() * (depth() + out));
  const auto tiles_of_all = std::max<int64_t>(1, n * tiles());
  return std::min(std::clamp<int64_t>(fitting / kBlock * kBlock, 2 * kBlock, 16 * kBlock),
                  tiles_of_all);
}

WinogradTiles::WinogradTiles(const WinogradSizes& sizes)
    : s_(sizes),
      input_step_(sizes.tiles_at_once() * sizes.depth() + kGap),
      output_step_(sizes.tiles_at_once() * sizes.out + kGap),
      input_(at::empty({sizes.all_points() * input_step_}, at::kFloat)),
      output_(at::empty({sizes.all_points() * output_step_}, at::kFloat)) {}

template <typename Work>
void WinogradTiles::for_inputs(int64_t first, int64_t count, const Work& work) const {
  int64_t places[kMostPoints];
  const Square square{places, s_.channels, input_step_, kTile * s_.stride * s_.channels};
  for (int64_t t = 0; t < count; ++t) {
    const TilePlace place(s_, first + t);
    for (int64_t phase = 0; phase < s_.phases(); ++phase) {
      place.input(phase, places);
      work(square, place.image, input(0) + t * s_.depth() + phase * s_.channels);
    }
  }
}

template <typename Work>
void WinogradTiles::for_outputs(int64_t first, int64_t count, const Work& work) const {
  int64_t places[kTile * kTile];
  const Square square{places, s_.out, output_step_, kTile * s_.out};
  for (int64_t t = 0; t < count; ++t) {
    const TilePlace place(s_, first + t);
    place.output(places);
    work(square, place.image, output(0) + t * s_.out);
  }
}

void WinogradTiles::read_input(const float* x, int64_t first, int64_t count) const {
  for_inputs(first, count, [&](const Square& square, int64_t image, float* points) {
    kernels::to_points(Seen::kInput, s_.taps, square, x + image * s_.image(), points);
  });
}

void WinogradTiles::add_to_input(float* dx, int64_t first, int64_t count) const {
  for_inputs(first, count, [&](const Square& square, int64_t image, float* points) {
    kernels::from_points(Seen::kInput, s_.taps, square, points, dx + image * s_.image());
  });
}

void WinogradTiles::read_output(const float* dy, int64_t first, int64_t count) const {
  for_outputs(first, count, [&](const Square& square, int64_t image, float* points) {
    kernels::to_points(Seen::kOutput, s_.taps, square, dy + image * s_.out_image(), points);
  });
}

void WinogradTiles::write_output(float* y, int64_t first, int64_t count) const {
  for_outputs(first, count, [&](const Square& square, int64_t image, float* points) {
    kernels::from_points(Seen::kOutput, s_.taps, square, points, y + image * s_.out_image());
  });
}

Tensor weights_to_output(const WinogradSizes& s, const Tensor& weight) {
  const Tensor taps = weight.permute({2, 3, 1, 0}).contiguous();  // [side,side,channels,out]
  Tensor panels = at::empty({s.all_points(), s.out / kPanel, s.depth(), kPanel}, weight.options());
  const auto* from = taps.data_ptr<float>();
  auto* to = panels.data_ptr<float>();
  const int64_t blocks = s.depth() / PanelRows::kRows;  // of a panel
  at::parallel_for(0, s.out / kPanel * blocks, /*grain_size=*/1, [&](int64_t begin, int64_t end) {
    PanelRows rows(s);
    for (int64_t block = begin; block < end; ++block) {
      const int64_t col = block / blocks * kPanel, first = block % blocks * PanelRows::kRows;
      for (int64_t i = 0; i < PanelRows::kRows; ++i) {
        const int64_t phase = (first + i) / s.channels, channel = (first + i) % s.channels;
        rows.read(i, from + channel * s.out + col, phase, s.channels * s.out, 0, kPanel);
      }
      rows.write(to + col * s.depth() + first * kPanel);
    }
  });
  return panels;
}

Tensor weights_to_input(const WinogradSizes& s, const Tensor& weight) {
  const Tensor taps = weight.contiguous(kChannelsLast);  // [out,side,side,channels]
  Tensor panels = at::empty({s.all_points(), s.depth() / kPanel, s.out, kPanel}, weight.options());
  const auto* from = taps.data_ptr<float>();
  auto* to = panels.data_ptr<float>();
  const int64_t blocks = s.out / PanelRows::kRows;                       // of a panel
  const int64_t count = s.channels % kPanel == 0 ? kPanel : kPanel / 2;  // of one phase
  at::parallel_for(
      0, s.depth() / kPanel * blocks, /*grain_size=*/1, [&](int64_t begin, int64_t end) {
        PanelRows rows(s);
        for (int64_t block = begin; block < end; ++block) {
          const int64_t first = block % blocks * PanelRows::kRows, panel = block / blocks * kPanel;
          for (int64_t i = 0; i < PanelRows::kRows; ++i)
            for (int64_t d = panel; d < panel + kPanel; d += count) {
              const int64_t phase = d / s.channels, channel = d % s.channels;
              rows.read(i, from + (first + i) * s.side() * s.side() * s.channels + channel, phase,
                        s.channels, d - panel, count);
            }
          rows.write(to + panel * s.out + first * kPanel);
        }
      });
  return panels;
}

void points_to_weights(const WinogradSizes& s, const float* dpoints, float* dtaps) {
  int64_t places[kMostTaps];
  const Square square{places, s.channels, s.out * s.depth()};
  for (int64_t phase = 0; phase < s.phases(); ++phase) {
    place_taps(s, phase, s.channels, places);
    for (int64_t k = 0; k < s.out; ++k)
      kernels::from_points(Seen::kTaps, s.taps, square,
                           dpoints + k * s.depth() + phase * s.channels,
                           dtaps + k * s.side() * s.side() * s.channels);
  }
}

}  // namespace flipside
