#pragma once

#include "flipside/config/config.h"
#include "flipside/core/torch.h"
#include "flipside/model/blocks.h"

namespace flipside {

/// One pass with everything that lies between: what activation maps are made of.
struct DiscriminatorTrace {
  /// Activations [N,C_l,H_l,W_l] of each level: the stem at full size, each halving, the last
  /// convolution. They carry gradients where `x` or the weights do.
  std::vector<Tensor> activations;
  Tensor logits;  ///< [N,num_outputs]
};

/// Conv3 stem, conv4 of stride 2 per further width, conv3, concatenated average and max pool, one
/// linear layer. GroupNorm but not in the first layer. With K+1 outputs the discriminator (index K
/// is "fake"), with K the ordinary classifier and the judge.
class DiscriminatorImpl : public torch::nn::Module {
 public:
  DiscriminatorImpl(const ModelConfig& config, int64_t num_outputs);
  /// `x` [N,3,H,W] in [0,1] -> logits [N,num_outputs].
  Tensor forward(const Tensor& x);
  /// Penultimate features [N,F], F = twice the last width (average and max pool).
  Tensor features(const Tensor& x) { return pooled(x, nullptr); }
  /// `forward` that also gives the activations of every level.
  DiscriminatorTrace trace(const Tensor& x);
  /// Input sides must be multiples of this.
  int64_t stride() const { return stride_; }
  /// Number of activations that `trace` gives.
  int64_t num_levels() const { return static_cast<int64_t>(levels_.size()) + 2; }
  int64_t num_outputs() const { return head_->options.out_features(); }

 private:
  Tensor pooled(const Tensor& x, std::vector<Tensor>* activations);

  int64_t stride_;
  Conv stem_;
  std::vector<ConvBlock> levels_;
  ConvBlock last_;
  torch::nn::Linear head_;
};
TORCH_MODULE(Discriminator);

/// Probabilities [N,K] of K classes: softmax over their logits alone, whatever the fake head.
/// `logits` [N,K] or, with "fake" last, [N,K+1].
Tensor class_probs(const Tensor& logits, int64_t num_classes);
/// Fakeness [N] in [0,1]: softmax probability of class K among all K+1 (kSoftmax), or the sigmoid
/// of the fake logit (kFactorised). `logits` [N,K+1].
Tensor fakeness(const Tensor& logits, FakeHead head);

}  // namespace flipside
