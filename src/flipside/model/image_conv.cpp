#include <ATen/Parallel.h>
#include <ATen/record_function.h>

#include <algorithm>

#include "flipside/core/device.h"
#include "flipside/model/blocks.h"
#include "flipside/model/composed_gradients.h"
#include "flipside/model/image_conv_kernels.h"

namespace flipside {
namespace {

using kernels::BFloatBits;
using kernels::kColours;
using kernels::kPaddedTaps;
using kernels::kTaps;
using torch::autograd::AutogradContext;
using torch::autograd::tensor_list;

constexpr int64_t kImageRowsAtOnce = 4;  // that a thread takes: some 10 us of work at least

struct ImageSizes {
  int64_t n, height, width, channels;

  ImageSizes(const Tensor& images, int64_t channels)
      : n(images.size(0)), height(images.size(2)), width(images.size(3)), channels(channels) {}
  int64_t row_values() const { return width * channels; }
  int64_t image_row() const { return width * kColours; }
};

/// Three neighbouring rows of an image, padded: what one output row is made from.
class PaddedRows {
 public:
  explicit PaddedRows(const ImageSizes& sizes)
      : sizes_(sizes), row_((sizes.width + 2) * kColours), memory_(3 * row_) {}
  /// Around row `y` of `image`.
  void fill(const float* image, int64_t y) {
    for (int64_t i = 0; i < 3; ++i) {
      const int64_t at = y - 1 + i;
      const bool inside = at >= 0 && at < sizes_.height;
      kernels::pad_row(inside ? image + at * sizes_.image_row() : nullptr, sizes_.width,
                       memory_.data() + i * row_);
      rows_[i] = memory_.data() + i * row_;
    }
  }
  const float* const* get() const { return rows_; }

 private:
  const ImageSizes& sizes_;
  int64_t row_;
  std::vector<float> memory_;
  const float* rows_[3] = {};
};

/// [C,3,3,3] -> [kTaps,C].
Tensor by_taps(const Tensor& weight) {
  return weight.detach().permute({2, 3, 1, 0}).contiguous().view({kTaps, weight.size(0)});
}

template <typename Value>
Tensor image_conv_forward(const Tensor& images, const Tensor& weight, const Tensor& bias,
                          double slope, at::ScalarType type) {
  const ImageSizes s(images, weight.size(0));
  Tensor y =
      at::empty({s.n, s.channels, s.height, s.width}, images.options().dtype(type), kChannelsLast);
  const Tensor taps = by_taps(weight), shift = bias.detach().contiguous();
  const auto* pixels = images.data_ptr<float>();
  auto* out = static_cast<Value*>(y.data_ptr());
  at::parallel_for(0, s.n * s.height, kImageRowsAtOnce, [&](int64_t begin, int64_t end) {
    PaddedRows rows(s);
    for (int64_t row = begin; row < end; ++row) {
      rows.fill(pixels + row / s.height * s.height * s.image_row(), row % s.height);
      kernels::image_conv_row(rows.get(), taps.data_ptr<float>(), shift.data_ptr<float>(),
                              static_cast<float>(slope), s.width, s.channels,
                              out + row * s.row_values());
    }
  });
  return y;
}

/// What the backward pass of one sample gives: to the sums of the weights' and the bias's gradient,
/// and the image's gradient, each where asked for.
struct SampleGradients {
  float *weights, *bias, *image;
};

/// The gradient of one image: each output row spreads to its taps, and an image row gathers them as
/// soon as the output row below is done. `rows` of taps lie in a ring of three, and one of zeros.
class ImageGradient {
 public:
  ImageGradient(const ImageSizes& sizes, const float* weights, float* image)
      : sizes_(sizes),
        weights_(weights),
        image_(image),
        row_((sizes.width + 2) * kPaddedTaps),
        memory_(4 * row_) {}

  /// Output rows come from 0 on, one after the other; the row number `height` ends the image.
  void take(int64_t y, const float* dz) {
    if (y < sizes_.height)
      kernels::spread_to_taps(dz, weights_, sizes_.width, sizes_.channels, ring(y) + kPaddedTaps);
    if (y == 0) return;
    const int64_t at = y - 1;  // an output row r sees it as row at - r + 1 of its kernel
    const float* taps[3] = {y < sizes_.height ? ring(y) : zeros(), ring(at),
                            at > 0 ? ring(at - 1) : zeros()};
    kernels::gather_from_taps(taps, sizes_.width, image_ + at * sizes_.image_row());
  }

 private:
  float* ring(int64_t y) { return memory_.data() + y % 3 * row_; }
  float* zeros() { return memory_.data() + 3 * row_; }

  const ImageSizes& sizes_;
  const float* weights_;
  float* image_;
  int64_t row_;
  std::vector<float> memory_;
};

template <typename Value>
void sample_backward(const ImageSizes& s, const float* pixels, const Value* y, const Value* dy,
                     double slope, const float* weights, const SampleGradients& gradients) {
  std::vector<float> dz(s.row_values());
  PaddedRows rows(s);
  ImageGradient image(s, weights, gradients.image);
  for (int64_t row = 0; row < s.height; ++row) {
    kernels::before_activation(dy + row * s.row_values(), y + row * s.row_values(),
                               static_cast<float>(slope), s.row_values(), dz.data());
    if (gradients.weights != nullptr) {
      rows.fill(pixels, row);
      kernels::add_weight_gradient(rows.get(), dz.data(), s.width, s.channels, gradients.weights,
                                   gradients.bias);
    }
    if (gradients.image != nullptr) image.take(row, dz.data());
  }
  if (gradients.image != nullptr) image.take(s.height, nullptr);
}

/// Gradients of images, weight and bias, those that are not asked for undefined. `dy` and `y`
/// channels_last of one type.
template <typename Value>
tensor_list image_conv_backward(const Tensor& images, const Tensor& weight, const Tensor& y,
                                const Tensor& dy, double slope) {
  const ImageSizes s(images, weight.size(0));
  const bool to_image = images.requires_grad(), to_weights = weight.requires_grad();
  RECORD_FUNCTION("flipside::image_conv_backward",
                  (std::vector<c10::IValue>{images, weight, to_image, to_weights}));
  const Tensor transposed =
      at::constant_pad_nd(by_taps(weight).t(), {0, kPaddedTaps - kTaps}).contiguous();
  Tensor dimages, sums;
  if (to_image) dimages = at::empty(images.sizes(), images.options(), kChannelsLast);
  // Per sample, and added up in their order: the threads make no difference.
  if (to_weights) sums = at::zeros({s.n, kTaps + 1, s.channels}, images.options());
  const int64_t image = s.height * s.image_row(), features = s.height * s.row_values();
  at::parallel_for(0, s.n, 1, [&](int64_t begin, int64_t end) {
    for (int64_t n = begin; n < end; ++n) {
      SampleGradients gradients{nullptr, nullptr, nullptr};
      if (to_weights) {
        gradients.weights = sums.data_ptr<float>() + n * (kTaps + 1) * s.channels;
        gradients.bias = gradients.weights + kTaps * s.channels;
      }
      if (to_image) gradients.image = dimages.data_ptr<float>() + n * image;
      sample_backward(s, images.data_ptr<float>() + n * image,
                      static_cast<const Value*>(y.data_ptr()) + n * features,
                      static_cast<const Value*>(dy.data_ptr()) + n * features, slope,
                      transposed.data_ptr<float>(), gradients);
    }
  });
  if (!to_weights) return {dimages, {}, {}};
  std::vector<double> whole((kTaps + 1) * s.channels);
  const auto* parts = sums.data_ptr<float>();
  for (int64_t n = 0; n < s.n; ++n)
    for (double& value : whole) value += *parts++;
  const Tensor total = at::tensor(whole, at::kDouble).to(at::kFloat).view({kTaps + 1, s.channels});
  const Tensor dweight =
      total.slice(0, 0, kTaps).view({3, 3, kColours, s.channels}).permute({3, 2, 0, 1});
  return {dimages, dweight.contiguous(kChannelsLast), total[kTaps].clone()};
}

class ImageConv : public torch::autograd::Function<ImageConv> {
 public:
  static Tensor forward(AutogradContext* context, const Tensor& images, const Tensor& weight,
                        const Tensor& bias, double slope, bool half) {
    RECORD_FUNCTION("flipside::image_conv", (std::vector<c10::IValue>{images, weight}));
    const Tensor y =
        half ? image_conv_forward<BFloatBits>(images, weight, bias, slope, at::kBFloat16)
             : image_conv_forward<float>(images, weight, bias, slope, at::kFloat);
    context->save_for_backward({images, weight, bias, y});
    context->saved_data["slope"] = slope;
    return y;
  }

  static tensor_list backward(AutogradContext* context, const tensor_list& outputs) {
    const auto saved = context->get_saved_variables();
    const Tensor &images = saved[0], &weight = saved[1], &y = saved[3];
    const double slope = context->saved_data["slope"].toDouble();
    tensor_list gradients;
    if (at::GradMode::is_enabled()) {
      const ActivationType type(outputs[0].scalar_type());
      gradients = composed_gradients({images, weight, saved[2]}, outputs, [&]() -> tensor_list {
        return {image_conv_composed(images, weight, saved[2], slope)};
      });
    } else {
      const Tensor dy = outputs[0].contiguous(kChannelsLast);
      gradients = y.scalar_type() == at::kFloat
                      ? image_conv_backward<float>(images, weight, y, dy, slope)
                      : image_conv_backward<BFloatBits>(images, weight, y, dy, slope);
    }
    gradients.resize(5);  // none for slope and half
    return gradients;
  }
};

}  // namespace

Tensor image_conv_composed(const Tensor& images, const Tensor& weight, const Tensor& bias,
                           double slope) {
  const at::ScalarType type = activation_type_for(images);
  const Tensor z =
      at::conv2d(normalise(images).to(type), weight.to(type),
                 bias.defined() ? bias.to(type) : Tensor(), /*stride=*/1, /*padding=*/1);
  return slope == 1.0 ? z : at::leaky_relu(z, slope);
}

Tensor image_conv(const Tensor& images, const Tensor& weight, const Tensor& bias, double slope) {
  const auto plain = [](const Tensor& t) {
    return takes_fused_nodes(t.device()) && t.scalar_type() == at::kFloat;
  };
  const bool known = plain(images) && plain(weight) && (!bias.defined() || plain(bias)) &&
                     images.numel() > 0 && weight.size(0) % kernels::kLanes == 0;
  if (!known) return image_conv_composed(images, weight, bias, slope);
  const Tensor shift = bias.defined() ? bias : at::zeros({weight.size(0)}, weight.options());
  return ImageConv::apply(images.contiguous(kChannelsLast), weight, shift, slope,
                          activation_type_for(images) == at::kBFloat16);
}

}  // namespace flipside
