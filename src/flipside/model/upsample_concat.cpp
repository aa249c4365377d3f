#include <ATen/Parallel.h>
#include <ATen/record_function.h>

#include <algorithm>
#include <cstring>

#include "flipside/core/device.h"
#include "flipside/core/error.h"
#include "flipside/model/blocks.h"
#include "flipside/model/upsample_kernels.h"

namespace flipside {
namespace {

using kernels::BFloatBits;
using torch::autograd::AutogradContext;
using torch::autograd::tensor_list;

constexpr int64_t kRowsAtOnce = 4;  // that a thread takes: some 10 us of work at least

/// Sizes of one call: x [n,channels,height,width], y [n,stride,2 height,2 width].
struct UpsampleSizes {
  int64_t n, channels, height, width, stride;

  UpsampleSizes(const Tensor& x, int64_t skip_channels)
      : n(x.size(0)),
        channels(x.size(1)),
        height(x.size(2)),
        width(x.size(3)),
        stride(channels + skip_channels) {}
  int64_t skip_channels() const { return stride - channels; }
  std::vector<int64_t> input() const { return {n, channels, height, width}; }
  std::vector<int64_t> skip() const { return {n, skip_channels(), 2 * height, 2 * width}; }
  std::vector<int64_t> output() const { return {n, stride, 2 * height, 2 * width}; }
};

/// `work(row)` in parallel.
template <typename Work>
void for_rows(int64_t rows, Work work) {
  at::parallel_for(0, rows, kRowsAtOnce, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) work(row);
  });
}

/// Copies `count` runs of `length` values between memory where they lie `from_step` and `to_step`
/// values apart.
template <typename Value>
void copy_runs(const Value* from, int64_t from_step, Value* to, int64_t to_step, int64_t count,
               int64_t length) {
  for (int64_t i = 0; i < count; ++i)
    std::memcpy(to + i * to_step, from + i * from_step, sizeof(Value) * length);
}

template <typename Value>
Tensor upsample_forward(const Tensor& x, const Tensor& skip) {
  const UpsampleSizes s(x, skip.size(1));
  Tensor y = at::empty(s.output(), x.options(), kChannelsLast);
  const auto* input = static_cast<const Value*>(x.data_ptr());
  const auto* side = static_cast<const Value*>(skip.data_ptr());
  auto* out = static_cast<Value*>(y.data_ptr());
  const int64_t in_row = s.width * s.channels, out_pixels = 2 * s.width;
  for_rows(s.n * 2 * s.height, [&](int64_t row) {
    const int64_t sample = row / (2 * s.height), at = row % (2 * s.height);
    const int64_t near = at / 2;
    const int64_t far = std::clamp<int64_t>(at % 2 == 0 ? near - 1 : near + 1, 0, s.height - 1);
    const Value* image = input + sample * s.height * in_row;
    Value* to = out + row * out_pixels * s.stride;
    kernels::upsample_row(image + near * in_row, image + far * in_row, s.width, s.channels,
                          s.stride, to);
    copy_runs(side + row * out_pixels * s.skip_channels(), s.skip_channels(), to + s.channels,
              s.stride, out_pixels, s.skip_channels());
  });
  return y;
}

/// The gradient of x, or that of the skip, from that of y (channels_last).
template <typename Value>
Tensor input_backward(const UpsampleSizes& s, const Tensor& dy) {
  Tensor dx = at::empty(s.input(), dy.options(), kChannelsLast);
  const auto* out = static_cast<const Value*>(dy.data_ptr());
  auto* in = static_cast<Value*>(dx.data_ptr());
  const int64_t in_row = s.width * s.channels, out_row = 2 * s.width * s.stride;
  for_rows(s.n * s.height, [&](int64_t row) {
    const Value* image = out + row / s.height * 2 * s.height * out_row;
    const int64_t y = row % s.height;
    const Value* rows[4];
    for (int64_t i = 0; i < 4; ++i)
      rows[i] = image + std::clamp<int64_t>(2 * y - 1 + i, 0, 2 * s.height - 1) * out_row;
    kernels::upsample_row_gradient(rows, s.width, s.channels, s.stride, in + row * in_row);
  });
  return dx;
}

template <typename Value>
Tensor skip_backward(const UpsampleSizes& s, const Tensor& dy) {
  Tensor dskip = at::empty(s.skip(), dy.options(), kChannelsLast);
  const auto* from = static_cast<const Value*>(dy.data_ptr()) + s.channels;
  auto* to = static_cast<Value*>(dskip.data_ptr());
  const int64_t pixels = 2 * s.width;
  for_rows(s.n * 2 * s.height, [&](int64_t row) {
    copy_runs(from + row * pixels * s.stride, s.stride, to + row * pixels * s.skip_channels(),
              s.skip_channels(), pixels, s.skip_channels());
  });
  return dskip;
}

Tensor output_of(const Tensor& x, const Tensor& skip) {
  RECORD_FUNCTION("flipside::upsample_concat", std::vector<c10::IValue>{});
  return x.scalar_type() == at::kFloat ? upsample_forward<float>(x, skip)
                                       : upsample_forward<BFloatBits>(x, skip);
}

class UpsampleConcat : public torch::autograd::Function<UpsampleConcat> {
 public:
  static Tensor forward(AutogradContext* context, const Tensor& x, const Tensor& skip) {
    context->save_for_backward({x, skip});
    return output_of(x, skip);
  }

  static tensor_list backward(AutogradContext* context, const tensor_list& outputs) {
    const auto saved = context->get_saved_variables();
    const Tensor &x = saved[0], &skip = saved[1];
    if (at::GradMode::is_enabled()) return composed_backward(x, skip, outputs[0]);
    const UpsampleSizes sizes(x, skip.size(1));
    const Tensor dy = outputs[0].contiguous(kChannelsLast);
    const bool full = dy.scalar_type() == at::kFloat;
    Tensor dx, dskip;
    if (x.requires_grad())
      dx = full ? input_backward<float>(sizes, dy) : input_backward<BFloatBits>(sizes, dy);
    if (skip.requires_grad())
      dskip = full ? skip_backward<float>(sizes, dy) : skip_backward<BFloatBits>(sizes, dy);
    return {dx, dskip};
  }

 private:
  /// Gradients that can be differentiated again. The node is linear: its gradient needs no input.
  static tensor_list composed_backward(const Tensor& x, const Tensor& skip, const Tensor& dy) {
    const Tensor up = dy.narrow(/*dim=*/1, 0, x.size(1));
    const Tensor dx =
        at::upsample_bilinear2d_backward(up, {dy.size(2), dy.size(3)}, x.sizes(), false);
    return {dx, dy.narrow(/*dim=*/1, x.size(1), skip.size(1))};
  }
};

}  // namespace

Tensor upsample_concat_composed(const Tensor& x, const Tensor& skip) {
  const Tensor up =
      at::upsample_bilinear2d(x, {skip.size(2), skip.size(3)}, /*align_corners=*/false);
  return at::cat({up, skip}, /*dim=*/1);
}

Tensor upsample_concat(const Tensor& x, const Tensor& skip) {
  TORCH_CHECK(
      skip.size(0) == x.size(0) && skip.size(2) == 2 * x.size(2) && skip.size(3) == 2 * x.size(3),
      "upsample_concat: the skip must have twice the height and width of x");
  const bool alike = skip.device().is_cpu() && skip.scalar_type() == x.scalar_type();
  if (!alike || !suits_kernels(x)) return upsample_concat_composed(x, skip);
  const Tensor in = x.contiguous(kChannelsLast), side = skip.contiguous(kChannelsLast);
  return needs_gradient({in, side}) ? UpsampleConcat::apply(in, side) : output_of(in, side);
}

}  // namespace flipside
