#include "flipside/model/winograd_points.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <cstring>

#include "flipside/model/blocks.h"
#include "flipside/model/scratch.h"

namespace flipside {
namespace {

using kernels::BFloatBits;
using kernels::kPanel;
using kernels::kTile;
using kernels::Seen;
using kernels::Square;

constexpr int64_t kMostAxis = 6, kMostPoints = kMostAxis * kMostAxis, kMostTaps = 9;
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
  /// The places of an input that tiles before this one have as well: its first rows and columns.
  uint64_t shared() const {
    const auto ones = [](int64_t count) { return (uint64_t{1} << count) - 1; };
    const int64_t overlap = s.points - kTile;
    uint64_t bits = row > 0 ? ones(overlap * s.points) : 0;
    if (col > 0)
      for (int64_t i = 0; i < s.points; ++i) bits |= ones(overlap) << i * s.points;
    return bits;
  }

 private:
  static void place(int64_t y, int64_t x, int64_t step, int64_t count, int64_t height,
                    int64_t width, int64_t channels, int64_t* places) {
    int64_t columns[kMostAxis];
    for (int64_t j = 0; j < count; ++j, x += step)
      columns[j] = x >= 0 && x < width ? x * channels : -1;
    for (int64_t i = 0; i < count; ++i, y += step) {
      const bool inside = y >= 0 && y < height;
      const int64_t begin = y * width * channels;
      for (int64_t j = 0; j < count; ++j)
        *places++ = inside && columns[j] >= 0 ? begin + columns[j] : -1;
    }
  }
};

/// The places of two tiles that become one element each; the second has none where tiles end.
template <int64_t kPlaces>
struct TilePair {
  TilePlace tiles[2];
  bool has_second;
  int64_t places[2][kPlaces];

  TilePair(const WinogradSizes& s, int64_t first, int64_t end)
      : tiles{{s, first}, {s, std::min(first + 1, end - 1)}}, has_second(first + 1 < end) {}

  /// `list(tile, places)` lists a tile's.
  template <typename List>
  void place(const List& list) {
    list(tiles[0], places[0]);
    list(tiles[1], places[1]);
    if (!has_second) std::fill_n(places[1], kPlaces, -1);
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
  /// Writes all rows, the first one `offset` numbers after the beginning of each point's panels.
  void write(const Tensor& panels, int64_t offset) const {
    for (int64_t point = 0; point < s_.all_points(); ++point, offset += size_) {
      const float* rows = rows_ + point * kRows * kPanel;
      if (panels.scalar_type() == at::kFloat) {
        std::memcpy(panels.data_ptr<float>() + offset, rows, sizeof(float) * kRows * kPanel);
        continue;
      }
      auto* pairs = reinterpret_cast<kernels::Pair*>(numbers_of<BFloatBits>(panels) + offset);
      kernels::to_pairs(rows, kRows, kPanel, pairs);
    }
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
      stride(stride_of(weight.size(2))),
      taps(stride == 2 ? 2 : 3),
      points(kernels::winograd_points(taps)) {
  out_height = height / stride;
  out_width = width / stride;
  tiles_y = (out_height + kTile - 1) / kTile;
  tiles_x = (out_width + kTile - 1) / kTile;
}

/// So many that what they become fits a core's cache, in whole blocks of `multiply`, but enough for
/// the weights' gradient, which is read and written once for all of them; or all.
int64_t WinogradSizes::tiles_at_once(int64_t packed) const {
  constexpr int64_t kFloats = 1 << 16, kBlock = 12;
  const int64_t fitting = kFloats / (all_points() * (depth() + out));
  const auto tiles_of_all = std::max<int64_t>(1, n * tiles());
  return std::min(std::clamp<int64_t>(fitting / kBlock * kBlock, 4 * packed * kBlock, 16 * kBlock),
                  tiles_of_all);
}

template <typename Number>
WinogradTiles<Number>::WinogradTiles(const WinogradSizes& sizes) : s_(sizes) {
  const int64_t packed = kPacked<Number>, tiles = sizes.tiles_at_once(packed);
  const int64_t whole = (tiles + packed - 1) / packed * packed;
  input_step_ = whole * sizes.depth() + kGap;
  output_step_ = whole * sizes.out + kGap;
  columns_ = packed == 1 ? 0 : whole / packed * sizes.out;  // floats are rows and columns in one
  input_ = scratch(sizes.all_points() * (input_step_ + output_step_));
  output_ = input_ + sizes.all_points() * input_step_;
}

/// `work(square, image, offset)` for the squares of an input, whose points begin `offset` numbers
/// after the tiles'.
template <typename Number>
template <typename Work>
void WinogradTiles<Number>::for_inputs(int64_t first, int64_t count, int64_t step,
                                       const Work& work) const {
  int64_t places[kMostPoints];
  Square square{places, s_.channels, step, kTile * s_.stride * s_.channels};
  for (int64_t t = 0; t < count; ++t) {
    const TilePlace place(s_, first + t);
    square.shared = place.shared();
    for (int64_t phase = 0; phase < s_.phases(); ++phase) {
      place.input(phase, places);
      work(square, place.image, t * s_.depth() + phase * s_.channels);
    }
  }
}

/// The same of an output.
template <typename Number>
template <typename Work>
void WinogradTiles<Number>::for_outputs(int64_t first, int64_t count, const Work& work) const {
  int64_t places[kTile * kTile];
  const Square square{places, s_.out, output_step_, kTile * s_.out};
  for (int64_t t = 0; t < count; ++t) {
    const TilePlace place(s_, first + t);
    place.output(places);
    work(square, place.image, t * s_.out);
  }
}

template <typename Number>
void WinogradTiles<Number>::read_input_rows(const Number* x, int64_t first, int64_t count) const {
  auto* const rows = numbers(input_);
  const int64_t step = input_step_ * kPacked<Number>;
  for_inputs(first, count, step, [&](const Square& square, int64_t image, int64_t offset) {
    kernels::to_points(Seen::kInput, s_.taps, square, x + image * s_.image(), rows + offset);
  });
}

template <>
void WinogradTiles<float>::read_input_columns(const float* x, int64_t first, int64_t count) const {
  read_input_rows(x, first, count);
}

template <>
void WinogradTiles<float>::read_output(const float* dy, int64_t first, int64_t count) const {
  for_outputs(first, count, [&](const Square& square, int64_t image, int64_t offset) {
    kernels::to_points(Seen::kOutput, s_.taps, square, dy + image * s_.out_image(),
                       numbers(output_) + offset);
  });
}

template <>
void WinogradTiles<BFloatBits>::read_input_columns(const BFloatBits* x, int64_t first,
                                                   int64_t count) const {
  for (int64_t t = 0; t < count; t += 2)
    for (int64_t phase = 0; phase < s_.phases(); ++phase) {
      TilePair<kMostPoints> pair(s_, first + t, first + count);
      pair.place([phase](const TilePlace& tile, int64_t* places) { tile.input(phase, places); });
      const auto square = [&](int i) {
        return Square{pair.places[i], s_.channels, input_step_,
                      2 * kTile * s_.stride * s_.channels};
      };
      const auto values = [&](int i) { return x + pair.tiles[i].image * s_.image(); };
      auto* const pairs = elements(input_) + t / 2 * s_.depth() + phase * s_.channels;
      kernels::to_paired_points(Seen::kInput, s_.taps, square(0), square(1), values(0), values(1),
                                {pairs, {}, 0});
    }
}

template <>
void WinogradTiles<BFloatBits>::read_output(const BFloatBits* dy, int64_t first,
                                            int64_t count) const {
  for (int64_t t = 0; t < count; t += 2) {
    TilePair<kTile * kTile> pair(s_, first + t, first + count);
    pair.place([](const TilePlace& tile, int64_t* places) { tile.output(places); });
    const auto square = [&](int i) {
      return Square{pair.places[i], s_.out, output_step_, 2 * kTile * s_.out};
    };
    const auto values = [&](int i) { return dy + pair.tiles[i].image * s_.out_image(); };
    auto* const pairs = elements(output_) + columns_ + t / 2 * s_.out;
    auto* const row = numbers(output_) + t * s_.out;
    kernels::to_paired_points(Seen::kOutput, s_.taps, square(0), square(1), values(0), values(1),
                              {pairs, {row, row + s_.out}, 2 * output_step_});
  }
}

template <typename Number>
void WinogradTiles<Number>::write_output(Number* y, int64_t first, int64_t count) const {
  for_outputs(first, count, [&](const Square& square, int64_t image, int64_t offset) {
    kernels::from_points(Seen::kOutput, s_.taps, square, output_sums(0) + offset,
                         y + image * s_.out_image());
  });
}

template <typename Number>
void WinogradTiles<Number>::write_input(float* dx, int64_t first_image, int64_t first,
                                        int64_t count) const {
  for_inputs(first, count, input_step_, [&](const Square& square, int64_t image, int64_t offset) {
    kernels::from_points(Seen::kInput, s_.taps, square, input_sums(0) + offset,
                         dx + (image - first_image) * s_.image());
  });
}

template class WinogradTiles<float>;
template class WinogradTiles<BFloatBits>;

Tensor weights_to_output(const WinogradSizes& s, const Tensor& weight, at::ScalarType type) {
  const Tensor taps = weight.permute({2, 3, 1, 0}).contiguous();  // [side,side,channels,out]
  Tensor panels = at::empty({s.all_points(), s.out / kPanel, s.depth(), kPanel}, type);
  const auto* from = taps.data_ptr<float>();
  const int64_t blocks = s.depth() / PanelRows::kRows;  // of a panel
  at::parallel_for(0, s.out / kPanel * blocks, /*grain_size=*/1, [&](int64_t begin, int64_t end) {
    PanelRows rows(s);
    for (int64_t block = begin; block < end; ++block) {
      const int64_t col = block / blocks * kPanel, first = block % blocks * PanelRows::kRows;
      for (int64_t i = 0; i < PanelRows::kRows; ++i) {
        const int64_t phase = (first + i) / s.channels, channel = (first + i) % s.channels;
        rows.read(i, from + channel * s.out + col, phase, s.channels * s.out, 0, kPanel);
      }
      rows.write(panels, col * s.depth() + first * kPanel);
    }
  });
  return panels;
}

Tensor weights_to_input(const WinogradSizes& s, const Tensor& weight, at::ScalarType type) {
  const Tensor taps = weight.contiguous(kChannelsLast);  // [out,side,side,channels]
  Tensor panels = at::empty({s.all_points(), s.depth() / kPanel, s.out, kPanel}, type);
  const auto* from = taps.data_ptr<float>();
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
          rows.write(panels, panel * s.out + first * kPanel);
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
