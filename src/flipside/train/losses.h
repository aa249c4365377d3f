#pragma once

#include "flipside/config/config.h"
#include "flipside/core/torch.h"

namespace flipside {

// Pure functions, each one equation of docs/equations.md. Letters: N images, K real classes;
// logits [N,K+1] with "fake" at index K; labels and targets [N] int64 in [0,K). All give a scalar.

/// (1), real part: the discriminator's loss on real images of classes `labels`.
Tensor real_loss(const Tensor& logits, const Tensor& labels, FakeHead head, AdversarialLoss form);
/// (1), fake part: its loss on counterfactuals made for `targets`. With the factorised head they
/// also train the class logits as their target class.
Tensor fake_loss(const Tensor& logits, const Tensor& targets, FakeHead head, AdversarialLoss form);
/// (2): the generator's loss: taken for a real image of class `targets`.
Tensor adversarial_loss(const Tensor& logits, const Tensor& targets, FakeHead head,
                        AdversarialLoss form);
/// (3) and (4): mean absolute difference.
Tensor l1_loss(const Tensor& a, const Tensor& b);
/// Total variation of the change |x_cf - x|: mean absolute difference of neighbours, both ways.
Tensor change_variation(const Tensor& image, const Tensor& counterfactual);
/// Soft-target-free cross-entropy for [N,K] logits: (6), and the ordinary classifier.
Tensor class_loss(const Tensor& logits, const Tensor& labels);
/// Binary cross-entropy plus soft Dice of [N,1,H,W] logits and masks (the segmenter's loss).
Tensor segmentation_loss(const Tensor& logits, const Tensor& masks);

}  // namespace flipside
