#include <ATen/Parallel.h>
#include <ATen/record_function.h>

#include <algorithm>

#include "flipside/core/device.h"
#include "flipside/model/blocks.h"
#include "flipside/model/lanes.h"
#include "flipside/model/scratch.h"
#include "flipside/model/winograd_points.h"

namespace flipside {
namespace {

using kernels::BFloatBits;
using kernels::kPanel;
using kernels::Pair;

constexpr int64_t kSumsAtOnce = 1 << 14;   // floats, which stay in a core's cache
constexpr int64_t kFewProducts = 4 << 20;  // are not worth a thread of their own

/// How a convolution's weights fill panels. A few outputs' channels alone would leave most of a
/// panel empty: as many neighbours in a row share one as it has room for, and each sees its part of
/// what all of them see.
struct Panels {
  int64_t out, channels, side, stride;
  int64_t shared;  // outputs side by side
  int64_t cols;    // their channels, in whole panels

  explicit Panels(const Tensor& weight)
      : out(weight.size(0)),
        channels(weight.size(1)),
        side(weight.size(2)),
        stride(stride_of(side)),
        shared(kPanel % out == 0 && stride == 1 ? kPanel / out : 1),
        cols((shared * out + kPanel - 1) / kPanel * kPanel) {}

  int64_t seen() const { return side + shared - 1; }   // pixels of a line of the kernel
  int64_t depth() const { return seen() * channels; }  // numbers of it
};

/// Sizes of one call.
struct ConvSizes {
  Panels panels;
  int64_t n, height, width;  // of x
  int64_t out_height, out_width;
  int64_t padding;

  ConvSizes(const Tensor& x, const Tensor& weight)
      : panels(weight),
        n(x.size(0)),
        height(x.size(2)),
        width(x.size(3)),
        out_height(height / panels.stride),
        out_width(width / panels.stride),
        padding(padding_of(panels.side)) {}

  int64_t image() const { return height * row(); }
  int64_t row() const { return width * panels.channels; }
  int64_t padded_row() const { return row() + 2 * padding * panels.channels; }
  int64_t out_row() const { return out_width * panels.out; }
  int64_t sums_of_row() const { return out_width / panels.shared * panels.cols; }
  int64_t products_of_row() const { return sums_of_row() * panels.side * panels.depth(); }
  /// Output rows that a thread takes at once.
  int64_t rows_at_once() const {
    return std::clamp<int64_t>(kSumsAtOnce / sums_of_row(), 1, out_height);
  }
  int64_t rows_seen(int64_t rows) const { return (rows - 1) * panels.stride + panels.side; }

  kernels::ConvRows rows(int64_t count) const {
    const int64_t line = padded_row() / 2,
                  pixel = panels.shared * panels.stride * panels.channels / 2;
    return {count,
            out_width / panels.shared,
            panels.cols,
            panels.side,
            panels.depth() / 2,
            panels.stride * line,
            pixel,
            line};
  }
};

Pair* pairs_of(const Tensor& tensor) {
  return reinterpret_cast<Pair*>(numbers_of<BFloatBits>(tensor));
}

/// What a thread convolves at once, and its memory.
class RowsAtOnce {
 public:
  RowsAtOnce(const ConvSizes& s, const Tensor& x, const Tensor& panels, const Tensor& bias,
             const Tensor& y)
      : s_(s),
        x_(numbers_of<BFloatBits>(x)),
        panels_(pairs_of(panels)),
        bias_(bias.defined() ? bias.data_ptr<float>() : nullptr),
        y_(numbers_of<BFloatBits>(y)) {
    const int64_t rows = s.rows_at_once(), sums = rows * s.sums_of_row();
    sums_ = scratch(sums + s.rows_seen(rows) * s.padded_row() / 2);
    padded_ = reinterpret_cast<BFloatBits*>(sums_ + sums);
  }

  /// Output rows `first` to `first` + `count` of an image.
  void convolve(int64_t image, int64_t first, int64_t count) const {
    const BFloatBits* const x = x_ + image * s_.image();
    const BFloatBits* const in =
        s_.padding > 0 ? padded(x, first * s_.panels.stride - s_.padding, s_.rows_seen(count))
                       : x + first * s_.row();
    kernels::convolve(s_.rows(count), reinterpret_cast<const Pair*>(in), panels_, sums_);
    if (s_.panels.cols > s_.panels.shared * s_.panels.out) leave_out(count * s_.out_width);
    const int64_t numbers = count * s_.out_row();
    if (bias_)
      for (int64_t i = 0; i < numbers; i += s_.panels.out)
        for (int64_t o = 0; o < s_.panels.out; ++o) sums_[i + o] += bias_[o];
    kernels::to_bfloat16(sums_, numbers, y_ + (image * s_.out_height + first) * s_.out_row());
  }

 private:
  /// `count` rows of an image from `row` on, which may lie outside, between zeros.
  const BFloatBits* padded(const BFloatBits* image, int64_t row, int64_t count) const {
    const int64_t margin = s_.padding * s_.panels.channels;
    BFloatBits* to = padded_;
    for (int64_t i = 0; i < count; ++i, ++row) {
      to = std::fill_n(to, margin, BFloatBits{0});
      if (row >= 0 && row < s_.height)
        to = std::copy_n(image + row * s_.row(), s_.row(), to);
      else
        to = std::fill_n(to, s_.row(), BFloatBits{0});
      to = std::fill_n(to, margin, BFloatBits{0});
    }
    return padded_;
  }

  /// Leaves out the columns that fill a panel.
  void leave_out(int64_t pixels) const {
    for (int64_t p = 0; p < pixels; ++p)
      std::copy_n(sums_ + p * s_.panels.cols, s_.panels.out, sums_ + p * s_.panels.out);
  }

  const ConvSizes& s_;
  const BFloatBits* x_;
  const Pair* panels_;
  const float* bias_;  // or none
  BFloatBits* y_;
  float* sums_;
  BFloatBits* padded_;
};

bool takes_weights(const Tensor& weight) {
  const int64_t side = weight.size(2);
  return takes_fused_nodes(weight.device()) && weight.scalar_type() == at::kFloat &&
         weight.size(3) == side && (side == 1 || side == 3 || side == 4) && weight.size(1) % 2 == 0;
}

}  // namespace

bool takes_direct(const Tensor& x, const Tensor& weight) {
  if (x.scalar_type() != at::kBFloat16 || !kernels::can_multiply_pairs() ||
      needs_gradient({x, weight}) || !takes_weights(weight) || !x.is_cpu() || x.numel() == 0)
    return false;
  const ConvSizes s(x, weight);
  return s.height % s.panels.stride == 0 && s.width % s.panels.stride == 0 &&
         s.out_width % s.panels.shared == 0 && s.out_row() % kernels::kLanes == 0;
}

bool prefers_direct(const Tensor& x, const Tensor& weight) {
  return kernels::has_pair_products() && takes_direct(x, weight);
}

Tensor direct_weights(const Tensor& weight) {
  if (!takes_weights(weight)) return {};
  const Panels p(weight);
  const Tensor taps = weight.detach().permute({0, 2, 3, 1});  // [out,line,pixel,channel]
  const Tensor rows = at::zeros({p.cols, p.side, p.seen(), p.channels}, taps.options());
  for (int64_t i = 0; i < p.shared; ++i)
    rows.narrow(0, i * p.out, p.out).narrow(/*dim=*/2, i, p.side).copy_(taps);
  const int64_t panels = p.cols / kPanel, depth = p.side * p.depth();
  const Tensor cols = rows.view({panels, kPanel, depth}).transpose(1, 2).contiguous();
  const Tensor packed = at::empty({panels, depth, kPanel}, at::kBFloat16);
  kernels::to_pairs(cols.data_ptr<float>(), panels * depth, kPanel, pairs_of(packed));
  return packed;
}

Tensor direct_conv(const Tensor& images, const Tensor& weight, const Tensor& bias,
                   const Tensor& kept) {
  RECORD_FUNCTION("flipside::direct_conv", (std::vector<c10::IValue>{images, weight}));
  const Tensor x = images.contiguous(kChannelsLast);
  const Tensor panels = kept.defined() ? kept : direct_weights(weight);
  const ConvSizes s(x, weight);
  Tensor y = at::empty({s.n, s.panels.out, s.out_height, s.out_width}, x.options(), kChannelsLast);
  const int64_t fewest = std::max<int64_t>(1, kFewProducts / s.products_of_row());
  at::parallel_for(0, s.n * s.out_height, fewest, [&](int64_t begin, int64_t end) {
    const RowsAtOnce rows(s, x, panels, bias, y);
    while (begin < end) {
      const int64_t first = begin % s.out_height;
      const int64_t count = std::min({s.rows_at_once(), s.out_height - first, end - begin});
      rows.convolve(begin / s.out_height, first, count);
      begin += count;
    }
  });
  return y;
}

}  // namespace flipside
