#include "flipside/model/generator.h"

namespace flipside {
namespace {

constexpr double kOutputDeviation = 1e-3;  // of the last layer's initial weights
constexpr double kAttentionBias = -2.0;    // attention starts at sigmoid(-2) = 0.12

int64_t unet_stride(const ModelConfig& config) {
  return int64_t{1} << (config.generator_widths.size() - 1);
}

int64_t raw_channels(GeneratorOutput output) {
  return output == GeneratorOutput::kResidualAttention ? 4 : 3;
}

/// Starts a residual output near no change at all.
void start_at_identity(Conv& layer, GeneratorOutput output) {
  if (output == GeneratorOutput::kDirect) return;
  torch::NoGradGuard no_grad;
  torch::nn::init::normal_(layer->weight, 0.0, kOutputDeviation);
  layer->bias.zero_();
  if (output == GeneratorOutput::kResidualAttention) layer->bias[3].fill_(kAttentionBias);
}

}  // namespace

GeneratorImpl::GeneratorImpl(const ModelConfig& config, int64_t num_classes)
    : output_(config.output),
      stride_(unet_stride(config)),
      encoder_(
          register_module("encoder", Encoder(config.generator_widths, config.residual_blocks))),
      decoder_(register_module(
          "decoder", Decoder(config.generator_widths, raw_channels(config.output), num_classes))),
      head_(register_module("head",
                            torch::nn::Linear(2 * config.generator_widths.back(), num_classes))) {
  start_at_identity(decoder_->output(), output_);
  to_channels_last(*this);
}

GeneratorResult GeneratorImpl::forward(const Tensor& x, const Tensor& target) {
  check_images(x, stride_);
  const auto features = encoder_(x);
  GeneratorResult result = compose(x, decoder_(features, target));
  result.class_logits = head_(average_and_max(features.back()));
  return result;
}

GeneratorResult GeneratorImpl::compose(const Tensor& x, const Tensor& raw) const {
  GeneratorResult result;
  switch (output_) {
    case GeneratorOutput::kResidualAttention:
      std::tie(result.counterfactual, result.attention) = add_attended_change(x, raw);
      break;
    case GeneratorOutput::kResidual:
      result.counterfactual = torch::clamp(x + torch::tanh(raw), 0, 1);
      break;
    case GeneratorOutput::kDirect:
      result.counterfactual = torch::sigmoid(raw);
      break;
  }
  result.counterfactual = result.counterfactual.contiguous(kChannelsLast);
  return result;
}

Tensor GeneratorImpl::classify(const Tensor& x) {
  check_images(x, stride_);
  return head_(average_and_max(encoder_(x).back()));
}

SegmenterImpl::SegmenterImpl(const ModelConfig& config)
    : stride_(unet_stride(config)),
      encoder_(
          register_module("encoder", Encoder(config.generator_widths, config.residual_blocks))),
      decoder_(register_module(
          "decoder", Decoder(config.generator_widths, /*outputs=*/1, /*num_classes=*/0))) {
  to_channels_last(*this);
}

Tensor SegmenterImpl::forward(const Tensor& x) {
  check_images(x, stride_);
  return decoder_(encoder_(x));
}

}  // namespace flipside
