#include "flipside/model/blocks.h"

#include <fmt/ranges.h>

#include "flipside/core/device.h"
#include "flipside/core/error.h"
#include "flipside/model/lanes.h"

namespace flipside {
namespace {

constexpr double kFilmDeviation = 0.01;  // of the initial a and b in h(1+a)+b

thread_local at::ScalarType activation_type = at::kFloat;

bool is_half(Precision precision, at::Device device) {
  return precision == Precision::kBFloat16 ||
         (precision == Precision::kAuto && has_fast_bfloat16(device));
}

/// Whether to ask oneDNN itself: a small image that comes alone libtorch convolves by products of
/// matrices, which depend on the BLAS that there is and can be several times as slow.
bool prefers_onednn(const Tensor& x) {
  return x.size(0) == 1 && x.scalar_type() == at::kFloat && x.is_cpu() &&
         at::globalContext().userEnabledMkldnn() && at::hasMKLDNN();
}

}  // namespace

template <typename Make>
Tensor ConvImpl::kept_in(Kept& kept, const Make& make) {
  const std::lock_guard lock(mutex_);
  const int64_t version = weight._version();
  const bool current = kept.source.defined() && kept.source.data_ptr() == weight.data_ptr() &&
                       kept.version == version;
  if (!current) kept = {make(), weight.detach(), version};
  return kept.weights;
}

Tensor ConvImpl::kept_weights(at::ScalarType type) {
  Kept& kept = type == at::kBFloat16 ? winograd_bfloat16_ : winograd_;
  return kept_in(kept, [&] { return winograd_weights(weight, type); });
}

Tensor ConvImpl::kept_direct_weights() {
  return kept_in(direct_, [&] { return direct_weights(weight); });
}

Conv make_conv(int64_t in, int64_t out, int64_t kernel, bool bias) {
  return Conv(torch::nn::Conv2dOptions(in, out, kernel)
                  .stride(stride_of(kernel))
                  .padding(padding_of(kernel))
                  .bias(bias));
}

ActivationType::ActivationType(at::ScalarType type) : before_(activation_type) {
  activation_type = type;
}

ActivationType::ActivationType(Precision precision, at::Device device)
    : ActivationType(is_half(precision, device) ? at::kBFloat16 : at::kFloat) {}

ActivationType::~ActivationType() { activation_type = before_; }

at::ScalarType activation_type_for(const Tensor& x) {
  return activation_type == at::kFloat ? x.scalar_type() : activation_type;
}

at::ScalarType full_type(const Tensor& x) {
  return x.scalar_type() == at::kBFloat16 ? at::kFloat : x.scalar_type();
}

bool suits_kernels(const Tensor& x) {
  const at::ScalarType type = x.scalar_type();
  return takes_fused_nodes(x.device()) && (type == at::kFloat || type == at::kBFloat16) &&
         x.numel() > 0 && x.size(1) % kernels::kLanes == 0;
}

bool needs_gradient(at::ArrayRef<Tensor> inputs) {
  return at::GradMode::is_enabled() &&
         std::any_of(inputs.begin(), inputs.end(),
                     [](const Tensor& t) { return t.requires_grad(); });
}

Tensor convolve(Conv& layer, const Tensor& x) {
  const int64_t kernel = layer->weight.size(2), stride = stride_of(kernel);
  const int64_t padding = padding_of(kernel);
  const Tensor in = x.to(activation_type_for(x));
  const bool keeps = layer->is_frozen();
  if (!layer->bias.defined() && prefers_winograd(in, layer->weight, keeps)) {
    const Tensor kept = keeps ? layer->kept_weights(in.scalar_type()) : Tensor();
    return winograd_conv(in, layer->weight, kept);
  }
  if (prefers_direct(in, layer->weight)) {
    const Tensor kept = keeps ? layer->kept_direct_weights() : Tensor();
    return direct_conv(in, layer->weight, layer->bias, kept);
  }
  if (activation_type == at::kFloat) {
    if (!prefers_onednn(in)) return layer(in);
    return at::mkldnn_convolution(in, layer->weight, layer->bias, {padding, padding},
                                  {stride, stride}, /*dilation=*/{1, 1}, /*groups=*/1);
  }
  const Tensor weight = layer->weight.to(activation_type);
  const Tensor bias = layer->bias.defined() ? layer->bias.to(activation_type) : Tensor();
  return at::conv2d(in, weight, bias, stride, padding);
}

void to_channels_last(torch::nn::Module& module) {
  for (auto& parameter : module.parameters())
    if (parameter.dim() == 4) parameter.set_data(parameter.data().contiguous(kChannelsLast));
}

Tensor normalise(const Tensor& images) { return (images * 2).sub_(1).contiguous(kChannelsLast); }

void check_images(const Tensor& images, int64_t stride) {
  const bool fits = images.dim() == 4 && images.size(1) == 3 && images.size(2) > 0 &&
                    images.size(3) > 0 && images.size(2) % stride == 0 &&
                    images.size(3) % stride == 0;
  if (!fits)
    fail(ErrorCode::kArgument,
         "images of shape [{}]: must be [N,3,H,W] with H and W multiples of {}; resize or pad them",
         fmt::join(images.sizes(), ","), stride);
}

NormActImpl::NormActImpl(int64_t channels, double slope, int64_t num_classes)
    : groups_(norm_groups(channels)),
      slope_(slope),
      gain_(register_parameter("gain", torch::ones({channels}))),
      bias_(register_parameter("bias", torch::zeros({channels}))) {
  if (num_classes == 0) return;
  film_ = register_module("film", torch::nn::Embedding(num_classes, 2 * channels));
  torch::nn::init::normal_(film_->weight, 0.0, kFilmDeviation);
}

Tensor NormActImpl::forward(const Tensor& x, const Tensor& target) {
  if (!film_) return group_norm_act(x, gain_, bias_, groups_, slope_);
  const auto [gain, bias] = modulated(target);
  return group_norm_act(x, gain, bias, groups_, slope_);
}

/// (xhat gain + bias)(1 + a) + b, multiplied out.
std::pair<Tensor, Tensor> NormActImpl::modulated(const Tensor& target) {
  const Tensor& weight = film_->weight;
  const bool plain = takes_fused_nodes(target.device()) && takes_fused_nodes(weight.device()) &&
                     weight.is_contiguous() && weight.scalar_type() == at::kFloat;
  if (!plain || needs_gradient({gain_, bias_, weight})) {
    const auto film = film_(target).chunk(2, /*dim=*/1);
    const Tensor scale = film[0] + 1;
    return {gain_ * scale, bias_ * scale + film[1]};
  }
  const int64_t channels = gain_.size(0);
  Tensor gain = at::empty({target.size(0), channels}, gain_.options()), bias = at::empty_like(gain);
  const auto *own_gain = gain_.data_ptr<float>(), *own_bias = bias_.data_ptr<float>();
  auto *to_gain = gain.data_ptr<float>(), *to_bias = bias.data_ptr<float>();
  const Tensor classes = target.contiguous();
  for (int64_t n = 0; n < target.size(0); ++n) {
    const int64_t k = classes.data_ptr<int64_t>()[n];
    TORCH_CHECK_INDEX(k >= 0 && k < weight.size(0), "target ", k, ": must be in [0,",
                      weight.size(0), ")");
    const float* a = weight.data_ptr<float>() + k * 2 * channels;
    for (int64_t c = 0; c < channels; ++c) {
      const float scale = a[c] + 1;
      *to_gain++ = own_gain[c] * scale;
      *to_bias++ = own_bias[c] * scale + a[channels + c];
    }
  }
  return {gain, bias};
}

ConvBlockImpl::ConvBlockImpl(int64_t in, int64_t out, int64_t kernel, int64_t num_classes)
    : conv_(register_module("conv", make_conv(in, out, kernel))),
      norm_(register_module("norm", NormAct(out, kSlope, num_classes))) {}

Tensor ConvBlockImpl::forward(const Tensor& x, const Tensor& target) {
  return norm_(convolve(conv_, x), target);
}

Tensor ConvBlockImpl::of_images(const Tensor& images) {
  return norm_(image_conv(images, conv_->weight, conv_->bias, /*slope=*/1.0));
}

ResidualBlockImpl::ResidualBlockImpl(int64_t channels)
    : first_(register_module("first", ConvBlock(channels, channels, 3))),
      second_(register_module("second", make_conv(channels, channels, 3))),
      norm_(register_module("norm", NormAct(channels, /*slope=*/1.0))) {}

Tensor ResidualBlockImpl::forward(const Tensor& x) {
  // In place: neither node needs what it gave.
  return torch::leaky_relu_(norm_(convolve(second_, first_(x))).add_(x), kSlope);
}

EncoderImpl::EncoderImpl(const std::vector<int64_t>& widths, int64_t residual_blocks) {
  levels_.push_back(register_module("stem", ConvBlock(3, widths[0], 3)));
  for (size_t i = 1; i < widths.size(); ++i)
    levels_.push_back(
        register_module("down" + std::to_string(i), ConvBlock(widths[i - 1], widths[i], 4)));
  for (int64_t i = 0; i < residual_blocks; ++i)
    residual_.push_back(
        register_module("residual" + std::to_string(i), ResidualBlock(widths.back())));
}

std::vector<Tensor> EncoderImpl::forward(const Tensor& x) {
  std::vector<Tensor> features{levels_.front()->of_images(x)};
  for (size_t i = 1; i < levels_.size(); ++i) features.push_back(levels_[i](features.back()));
  Tensor h = features.back();
  for (auto& block : residual_) h = block(h);
  features.back() = h;
  return features;
}

UpBlockImpl::UpBlockImpl(int64_t in, int64_t out, int64_t num_classes)
    : project_(register_module("project", make_conv(in, out, 1))),
      merge_(register_module("merge", ConvBlock(2 * out, out, 3, num_classes))) {}

Tensor UpBlockImpl::forward(const Tensor& x, const Tensor& skip, const Tensor& target) {
  return merge_(upsample_concat(convolve(project_, x), skip), target);
}

DecoderImpl::DecoderImpl(const std::vector<int64_t>& widths, int64_t outputs, int64_t num_classes)
    : entry_(register_module("entry", ConvBlock(widths.back(), widths.back(), 3, num_classes))),
      output_(nullptr) {
  for (size_t i = widths.size() - 1; i-- > 0;)
    levels_.push_back(
        register_module("up" + std::to_string(i), UpBlock(widths[i + 1], widths[i], num_classes)));
  output_ = register_module("output", make_conv(widths[0], outputs, 3, /*bias=*/true));
}

Tensor DecoderImpl::forward(const std::vector<Tensor>& features, const Tensor& target) {
  Tensor h = entry_(features.back(), target);
  auto skip = features.rbegin();
  for (auto& level : levels_) h = level(h, *++skip, target);
  const Tensor out = convolve(output_, h);
  return out.to(full_type(out));
}

}  // namespace flipside
