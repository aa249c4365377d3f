#include "flipside/model/discriminator.h"

namespace flipside {

DiscriminatorImpl::DiscriminatorImpl(const ModelConfig& config, int64_t num_outputs)
    : stride_(int64_t{1} << (config.discriminator_widths.size() - 1)),
      stem_(register_module("stem", make_conv(3, config.discriminator_widths[0], 3,
                                              /*bias=*/true))),
      last_(nullptr),
      head_(nullptr) {
  const auto& widths = config.discriminator_widths;
  for (size_t i = 1; i < widths.size(); ++i)
    levels_.push_back(
        register_module("down" + std::to_string(i), ConvBlock(widths[i - 1], widths[i], 4)));
  last_ = register_module("last", ConvBlock(widths.back(), widths.back(), 3));
  head_ = register_module("head", torch::nn::Linear(2 * widths.back(), num_outputs));
  to_channels_last(*this);
}

Tensor DiscriminatorImpl::pooled(const Tensor& x, std::vector<Tensor>* activations) {
  check_images(x, stride_);
  const auto keep = [&](const Tensor& h) {
    if (activations) activations->push_back(h);
    return h;
  };
  Tensor h = keep(image_conv(x, stem_->weight, stem_->bias, kSlope));
  for (auto& level : levels_) h = keep(level(h));
  return average_and_max(keep(last_(h)));
}

DiscriminatorTrace DiscriminatorImpl::trace(const Tensor& x) {
  DiscriminatorTrace result;
  result.logits = head_(pooled(x, &result.activations));
  return result;
}

Tensor DiscriminatorImpl::forward(const Tensor& x) { return head_(features(x)); }

Tensor class_probs(const Tensor& logits, int64_t num_classes) {
  return torch::softmax(logits.narrow(/*dim=*/1, 0, num_classes), /*dim=*/1);
}

Tensor fakeness(const Tensor& logits, FakeHead head) {
  const int64_t fake_class = logits.size(1) - 1;
  if (head == FakeHead::kFactorised) return torch::sigmoid(logits.select(/*dim=*/1, fake_class));
  return torch::softmax(logits, /*dim=*/1).select(/*dim=*/1, fake_class);
}

}  // namespace flipside
