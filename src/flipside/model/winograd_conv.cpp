#include <ATen/Parallel.h>
#include <ATen/record_function.h>

#include <algorithm>
#include <cstring>

#include "flipside/core/device.h"
#include "flipside/model/blocks.h"
#include "flipside/model/composed_gradients.h"
#include "flipside/model/winograd_kernels.h"

namespace flipside {
namespace {

using kernels::kPanel;
using kernels::kTile;
using kernels::Seen;
using kernels::Square;
using torch::autograd::AutogradContext;
using torch::autograd::tensor_list;

constexpr int64_t kMostPoints = 36, kMostTaps = 9;

/// Sizes of one call. A kernel of 4x4 taps and stride 2 is one of 2x2 taps and stride 1 on images
/// of half the size, with the four pixels of each square as channels: its phases.
struct Sizes {
  int64_t n, channels, height, width;  // of x
  int64_t out, out_height, out_width;
  int64_t stride, taps, points;  // along an axis
  int64_t tiles_y, tiles_x;      // of an image

  Sizes(const Tensor& x, const Tensor& weight)
      : n(x.size(0)),
        channels(x.size(1)),
        height(x.size(2)),
        width(x.size(3)),
        out(weight.size(0)),
        out_height(weight.size(2) == 4 ? height / 2 : height),
        out_width(weight.size(2) == 4 ? width / 2 : width),
        stride(weight.size(2) == 4 ? 2 : 1),
        taps(stride == 2 ? 2 : 3),
        points(kernels::winograd_points(taps)),
        tiles_y((out_height + kTile - 1) / kTile),
        tiles_x((out_width + kTile - 1) / kTile) {}

  int64_t phases() const { return stride * stride; }
  int64_t depth() const { return phases() * channels; }  // channels of all phases
  int64_t side() const { return stride * taps; }         // of the kernel
  int64_t all_points() const { return points * points; }
  int64_t tiles() const { return tiles_y * tiles_x; }  // of an image
  int64_t image() const { return height * width * channels; }
  int64_t out_image() const { return out_height * out_width * out; }

  /// So many tiles at once that what they become fits a core's cache.
  int64_t tiles_at_once() const {
    constexpr int64_t kFloats = 1 << 17;
    const int64_t fitting = kFloats / (all_points() * (depth() + out));
    return std::clamp<int64_t>(fitting / 12 * 12, 24, 192);
  }
};

/// One tile's pixels in x (of one phase) and in y.
struct TilePlace {
  const Sizes& s;
  int64_t image, row, col;  // of the tile's first output

  TilePlace(const Sizes& sizes, int64_t tile)
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

/// A thread's tiles at all points: [points^2, tiles, channels] of the input and of the output.
class Scratch {
 public:
  explicit Scratch(const Sizes& s)
      : s_(s),
        input_(at::empty({s.all_points() * s.tiles_at_once() * s.depth()}, at::kFloat)),
        output_(at::empty({s.all_points() * s.tiles_at_once() * s.out}, at::kFloat)) {}

  float* input(int64_t point) const {
    return input_.data_ptr<float>() + point * s_.tiles_at_once() * s_.depth();
  }
  float* output(int64_t point) const {
    return output_.data_ptr<float>() + point * s_.tiles_at_once() * s_.out;
  }

  // Of `count` tiles from `first` on.
  void read_input(const float* x, int64_t first, int64_t count) const {
    for_inputs(first, count, [&](const Square& square, int64_t image, float* points) {
      kernels::to_points(Seen::kInput, s_.taps, square, x + image * s_.image(), points);
    });
  }
  void add_to_input(float* dx, int64_t first, int64_t count) const {
    for_inputs(first, count, [&](const Square& square, int64_t image, float* points) {
      kernels::from_points(Seen::kInput, s_.taps, square, points, dx + image * s_.image());
    });
  }
  void read_output(const float* dy, int64_t first, int64_t count) const {
    for_outputs(first, count, [&](const Square& square, int64_t image, float* points) {
      kernels::to_points(Seen::kOutput, s_.taps, square, dy + image * s_.out_image(), points);
    });
  }
  void write_output(float* y, int64_t first, int64_t count) const {
    for_outputs(first, count, [&](const Square& square, int64_t image, float* points) {
      kernels::from_points(Seen::kOutput, s_.taps, square, points, y + image * s_.out_image());
    });
  }

 private:
  template <typename Work>
  void for_inputs(int64_t first, int64_t count, const Work& work) const {
    int64_t places[kMostPoints];
    const Square square{places, s_.channels, s_.tiles_at_once() * s_.depth()};
    for (int64_t t = 0; t < count; ++t) {
      const TilePlace place(s_, first + t);
      for (int64_t phase = 0; phase < s_.phases(); ++phase) {
        place.input(phase, places);
        work(square, place.image, input(0) + t * s_.depth() + phase * s_.channels);
      }
    }
  }
  template <typename Work>
  void for_outputs(int64_t first, int64_t count, const Work& work) const {
    int64_t places[kTile * kTile];
    const Square square{places, s_.out, s_.tiles_at_once() * s_.out};
    for (int64_t t = 0; t < count; ++t) {
      const TilePlace place(s_, first + t);
      place.output(places);
      work(square, place.image, output(0) + t * s_.out);
    }
  }

  const Sizes& s_;
  Tensor input_, output_;
};

/// The places of the taps of one phase in a kernel whose taps lie `step` apart.
void place_taps(const Sizes& s, int64_t phase, int64_t step, int64_t* places) {
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

  explicit PanelRows(const Sizes& s) : s_(s), size_(s.out * s.depth()) {}

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
  const Sizes& s_;
  int64_t size_;  // of one point's panels
  float rows_[kMostPoints * kRows * kPanel];
};

/// Weights at all points as panels of the output's channels: [points^2, out/16, depth, 16].
Tensor weights_to_output(const Sizes& s, const Tensor& weight) {
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

/// The transposed ones as panels of the input's: [points^2, depth/16, out, 16].
Tensor weights_to_input(const Sizes& s, const Tensor& weight) {
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

/// `dtaps` [out,side,side,channels], the weights' gradient, from that at all points,
/// [points^2, out, depth].
void points_to_weights(const Sizes& s, const float* dpoints, float* dtaps) {
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

/// `work(first, count)` for tiles from `begin` to `end`, a scratch full at a time.
template <typename Work>
void for_chunks(const Sizes& s, int64_t begin, int64_t end, const Work& work) {
  const int64_t most = s.tiles_at_once();
  for (int64_t first = begin; first < end; first += most) work(first, std::min(most, end - first));
}

Tensor winograd_forward(const Tensor& x, const Tensor& weight) {
  const Sizes s(x, weight);
  Tensor y = at::empty({s.n, s.out, s.out_height, s.out_width}, x.options(), kChannelsLast);
  const Tensor weights = weights_to_output(s, weight);
  const auto *from = x.data_ptr<float>(), *panels = weights.data_ptr<float>();
  auto* to = y.data_ptr<float>();
  at::parallel_for(0, s.n * s.tiles(), s.tiles_at_once(), [&](int64_t begin, int64_t end) {
    const Scratch scratch(s);
    for_chunks(s, begin, end, [&](int64_t first, int64_t count) {
      scratch.read_input(from, first, count);
      for (int64_t point = 0; point < s.all_points(); ++point)
        kernels::multiply({count, s.depth(), s.out, scratch.input(point), s.depth(), 1,
                           panels + point * s.depth() * s.out, s.depth() * kPanel, kPanel,
                           scratch.output(point), s.out},
                          /*adds=*/false);
      scratch.write_output(to, first, count);
    });
  });
  return y;
}

/// The gradients of one call, for the images that a thread takes.
class Backward {
 public:
  Backward(const Tensor& x, const Tensor& weight, const Tensor& dy)
      : s_(x, weight), x_(x), dy_(dy) {
    // Tiles overlap in x, and each thread sums the weights' gradient by itself: threads take whole
    // images, in slices, so that no sum depends on who is first.
    slices_ = std::min<int64_t>(s_.n, at::get_num_threads());
    if (x.requires_grad()) {
      dx_ = at::empty(x.sizes(), x.options(), kChannelsLast);
      weights_ = weights_to_input(s_, weight);
    }
    if (weight.requires_grad())
      dtaps_ = at::empty({slices_, s_.out, s_.side(), s_.side(), s_.channels}, x.options());
  }

  /// dx and dweight, where they are asked for.
  tensor_list run() {
    at::parallel_for(0, slices_, 1, [&](int64_t begin, int64_t end) {
      for (int64_t slice = begin; slice < end; ++slice) run_slice(slice);
    });
    if (!dtaps_.defined()) return {dx_, Tensor()};
    const Tensor dtaps = slices_ == 1 ? dtaps_[0] : dtaps_.sum(/*dim=*/0);
    return {dx_, dtaps.permute({0, 3, 1, 2})};
  }

 private:
  void run_slice(int64_t slice) {
    const int64_t begin = slice * s_.n / slices_, end = (slice + 1) * s_.n / slices_;
    const Scratch scratch(s_);
    if (dx_.defined())
      std::memset(dx() + begin * s_.image(), 0, sizeof(float) * (end - begin) * s_.image());
    Tensor dpoints;
    if (dtaps_.defined()) dpoints = at::empty({s_.all_points(), s_.out, s_.depth()}, x_.options());
    const int64_t first_tile = begin * s_.tiles();
    for_chunks(s_, first_tile, end * s_.tiles(), [&](int64_t first, int64_t count) {
      scratch.read_output(dy_.data_ptr<float>(), first, count);
      if (dpoints.defined()) {
        scratch.read_input(x_.data_ptr<float>(), first, count);
        add_to_weights(scratch, count, first > first_tile, dpoints.data_ptr<float>());
      }
      if (!dx_.defined()) return;
      to_input(scratch, count);
      scratch.add_to_input(dx(), first, count);
    });
    if (dpoints.defined())
      points_to_weights(s_, dpoints.data_ptr<float>(), dtaps_[slice].data_ptr<float>());
  }

  void add_to_weights(const Scratch& scratch, int64_t count, bool adds, float* dpoints) const {
    for (int64_t point = 0; point < s_.all_points(); ++point)
      kernels::multiply(
          {s_.out, count, s_.depth(), scratch.output(point), 1, s_.out, scratch.input(point),
           kPanel, s_.depth(), dpoints + point * s_.out * s_.depth(), s_.depth()},
          adds);
  }

  void to_input(const Scratch& scratch, int64_t count) const {
    const auto* panels = weights_.data_ptr<float>();
    for (int64_t point = 0; point < s_.all_points(); ++point)
      kernels::multiply({count, s_.out, s_.depth(), scratch.output(point), s_.out, 1,
                         panels + point * s_.out * s_.depth(), s_.out * kPanel, kPanel,
                         scratch.input(point), s_.depth()},
                        /*adds=*/false);
  }

  float* dx() const { return dx_.data_ptr<float>(); }

  Sizes s_;
  const Tensor &x_, &dy_;
  int64_t slices_;
  Tensor dx_, weights_, dtaps_;
};

/// Whether the kernel keeps the size of `x`, or halves an even one.
bool fits(const Tensor& x, const Tensor& weight) {
  const int64_t side = weight.size(2);
  const bool halves = side == 4 && x.size(2) % 2 == 0 && x.size(3) % 2 == 0;
  return weight.size(3) == side && (side == 3 || halves);
}

/// Whether the node can do what fits.
bool takes_winograd(const Tensor& x, const Tensor& weight) {
  const Sizes s(x, weight);
  return takes_fused_nodes(x.device()) && weight.device().is_cpu() &&
         x.scalar_type() == at::kFloat && weight.scalar_type() == at::kFloat && x.numel() > 0 &&
         s.channels % 8 == 0 && s.depth() % kPanel == 0 && s.out % kPanel == 0;
}

class WinogradConv : public torch::autograd::Function<WinogradConv> {
 public:
  static Tensor forward(AutogradContext* context, const Tensor& x, const Tensor& weight) {
    RECORD_FUNCTION("flipside::winograd_conv", (std::vector<c10::IValue>{x, weight}));
    context->save_for_backward({x, weight});
    return winograd_forward(x, weight);
  }

  static tensor_list backward(AutogradContext* context, const tensor_list& outputs) {
    const auto saved = context->get_saved_variables();
    const Tensor &x = saved[0], &weight = saved[1];
    if (at::GradMode::is_enabled())
      return composed_gradients(saved, outputs,
                                [&] { return tensor_list{winograd_conv_composed(x, weight)}; });
    RECORD_FUNCTION(
        "flipside::winograd_conv_backward",
        (std::vector<c10::IValue>{x, weight, x.requires_grad(), weight.requires_grad()}));
    const Tensor dy = outputs[0].contiguous(kChannelsLast);
    return Backward(x, weight, dy).run();
  }
};

}  // namespace

Tensor winograd_conv_composed(const Tensor& x, const Tensor& weight) {
  return at::conv2d(x, weight, /*bias=*/{}, /*stride=*/weight.size(2) == 4 ? 2 : 1, /*padding=*/1);
}

Tensor winograd_conv(const Tensor& x, const Tensor& weight) {
  TORCH_CHECK(fits(x, weight),
              "winograd_conv: needs a 3x3 kernel, or a 4x4 one and an even height and width");
  if (!takes_winograd(x, weight)) return winograd_conv_composed(x, weight);
  return WinogradConv::apply(x.contiguous(kChannelsLast), weight);
}

bool prefers_winograd(const Tensor& x, const Tensor& weight) {
  constexpr int64_t kFewPixels = 1024;  // the weights' way to the points takes longer than these do
  if (!kernels::has_winograd_vectors() || !fits(x, weight) || !takes_winograd(x, weight))
    return false;
  const Sizes s(x, weight);
  return s.n * s.out_height * s.out_width >= kFewPixels;
}

}  // namespace flipside
