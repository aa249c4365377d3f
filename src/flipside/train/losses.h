#pragma once

#include "flipside/config/config.h"
#include "flipside/core/torch.h"

namespace flipside {

// Pure functions, each one equation of docs/equations.md. Letters: N images, K real classes;
// logits [N,K+1] with "fake" at index K; labels and targets [N] int64 in [0,K). What is given is a
// scalar where no shape is said.
//
// The fake head says how "fake" is scored: as class K of one softmax (kSoftmax), or by its own
// logit beside K class logits (kFactorised). The hinge and least-squares forms always score the
// fake logit apart, next to a K-class cross-entropy.

/// How the discriminator's logits are scored.
struct AdversarialForm {
  FakeHead head = FakeHead::kSoftmax;
  AdversarialLoss loss = AdversarialLoss::kCrossEntropy;
};

/// (1), real part: the discriminator's loss on real images of classes `labels`.
Tensor real_loss(const Tensor& logits, const Tensor& labels, const AdversarialForm& form);

/// (1), fake part: its loss on counterfactuals made for `targets`. With the factorised head they
/// also train the K class logits as their target class; with one softmax `targets` is not used.
Tensor fake_loss(const Tensor& logits, const Tensor& targets, const AdversarialForm& form);

/// (2): the generator's loss: to be taken for a real image of class `targets`.
Tensor adversarial_loss(const Tensor& logits, const Tensor& targets, const AdversarialForm& form);

/// The two parts of a separate critic's loss: real images should be called real under their own
/// class, generated ones generated under the class they were made for. Logits [N,K], positive for
/// "generated": one per class, which stands for CycleGAN's one discriminator per domain (Zhu et al.
/// 2017).
Tensor critic_real_loss(const Tensor& logits, const Tensor& labels, AdversarialLoss loss);
Tensor critic_fake_loss(const Tensor& logits, const Tensor& targets, AdversarialLoss loss);
/// The generator's part against it: to be called real under the target class.
Tensor critic_adversarial_loss(const Tensor& logits, const Tensor& targets, AdversarialLoss loss);

/// The first K of [N,K+1] logits.
Tensor real_class_logits(const Tensor& logits);

/// (6), and the ordinary classifier's loss: cross-entropy of [N,K] logits.
Tensor class_loss(const Tensor& logits, const Tensor& labels);

/// (3), (4), (5): mean absolute difference.
Tensor mean_absolute_error(const Tensor& a, const Tensor& b);

/// (5): mean absolute difference of each image: [N].
Tensor change_size(const Tensor& image, const Tensor& counterfactual);

/// (5), optional: total variation of the change x_cf - x: mean absolute difference of horizontal
/// and of vertical neighbours, summed, of each image: [N]. Both [N,3,H,W] in [0,1].
Tensor change_variation(const Tensor& image, const Tensor& counterfactual);

/// What nine in ten pixels of an image change alike, of each channel: the value nearest to zero
/// between the 10th and the 90th percentile of the change, so zero unless so many share a sign.
/// [N,C,H,W] -> [N,C,1,1], without gradient.
Tensor common_change(const Tensor& change);

/// (2'): the counterfactual with its change cut down to what a mask would show, x + w d. d is
/// x_cf - x less the `common_change`, so that a cast of colour over the whole image shows nothing.
/// w in (0,1) is a soft mask of the saliency s = mean over channels of |d|, sigmoid(4 (s / tau -
/// 1)), tau half of the image's own level of change, sum s^2 / sum s over its pixels, and at least
/// one gray level of 255. Neither the common change nor tau has a gradient. Both [N,3,H,W] in
/// [0,1]; the same comes back, out of [0,1] by the common change at most.
Tensor within_mask(const Tensor& image, const Tensor& counterfactual);

/// The segmenter's loss: binary cross-entropy plus soft Dice over the batch, of logits [N,1,H,W]
/// and masks [N,1,H,W] of 0 and 1; pixels whose mask is NaN (no mask known) do not count. Where
/// the batch is shared among processes, `total` turns the loss's sums [5] into those of the whole.
Tensor segmentation_loss(const Tensor& logits, const Tensor& masks,
                         const std::function<Tensor(const Tensor&)>& total = nullptr);

}  // namespace flipside
