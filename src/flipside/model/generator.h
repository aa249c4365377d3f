#pragma once

#include "flipside/config/config.h"
#include "flipside/core/torch.h"
#include "flipside/model/blocks.h"

namespace flipside {

/// What the generator gives.
struct GeneratorResult {
  Tensor counterfactual;  ///< [N,3,H,W] in [0,1]
  Tensor class_logits;    ///< [N,K], of the input image; never sees the target
  Tensor attention;       ///< [N,1,H,W] in [0,1]; undefined for outputs without attention
};

/// U-Net G(x, t): counterfactual of x in class t, and class logits from a head on the bottleneck.
///
/// Stem conv3; per further width a conv4 of stride 2; residual blocks; the head on concatenated
/// average and max pool of the bottleneck before the target enters; up: 1x1 conv, bilinear x2,
/// skip concatenated, conv3. The target enters by FiLM (Perez et al. 2018), h(1+a)+b, at the
/// bottleneck and at each level of the decoder only. The last layer of the residual outputs starts
/// near zero, so that an untrained generator returns its input.
class GeneratorImpl : public torch::nn::Module {
 public:
  GeneratorImpl(const ModelConfig& config, int64_t num_classes);
  /// `x` [N,3,H,W] in [0,1], H and W multiples of `stride()`; `target` [N] int64 in [0,K).
  GeneratorResult forward(const Tensor& x, const Tensor& target);
  /// The head's logits [N,K] alone: the encoder without the decoder.
  Tensor classify(const Tensor& x);
  /// Input sides must be multiples of this.
  int64_t stride() const { return stride_; }

 private:
  GeneratorResult compose(const Tensor& x, const Tensor& raw) const;

  GeneratorOutput output_;
  int64_t stride_;
  Encoder encoder_;
  Decoder decoder_;
  torch::nn::Linear head_;
};
TORCH_MODULE(Generator);

/// The same U-Net with one output and no target: logits [N,1,H,W] of "defect" (the supervised
/// yardstick, trained on masks).
class SegmenterImpl : public torch::nn::Module {
 public:
  explicit SegmenterImpl(const ModelConfig& config);
  /// `x` [N,3,H,W] in [0,1], H and W multiples of `stride()`.
  Tensor forward(const Tensor& x);
  int64_t stride() const { return stride_; }

 private:
  int64_t stride_;
  Encoder encoder_;
  Decoder decoder_;
};
TORCH_MODULE(Segmenter);

}  // namespace flipside
