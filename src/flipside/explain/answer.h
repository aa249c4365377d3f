#pragma once

#include "flipside/core/torch.h"
#include "flipside/model/model.h"

namespace flipside {

// What a model takes images for (docs/equations.md, "The answer").

/// An answer less probable than this is asked for again in all views of the image.
constexpr double kSure = 0.95;

/// What the networks say of N images, where the networks are.
struct NetworkAnswers {
  Tensor logits;      ///< [N,K], or [N,K+1] of the discriminator: of the images as they lie
  Tensor probs;       ///< [N,K]: the answer, as `answer_probs`
  Tensor head_probs;  ///< [N,K] by the generator's head; undefined without a generator
};

/// Images [N,3,H,W] where the model's networks are, as they take them; `Error(kArgument)` for a
/// segmenter, which has no classes.
Tensor network_images(const Model& model, const Tensor& images);

/// The mean over the model's views of the probabilities of its K classes, [N,K], where the networks
/// are; differentiable in the images [N,3,H,W].
Tensor view_probs(const Model& model, const Tensor& images);

/// Mean probabilities [N,K] as logits: their logarithm, its gradient kept finite.
Tensor mean_logits(const Tensor& probs);

/// Class probabilities [N,K] of `network_images` whose logits are [N,K] or [N,K+1], "fake" left
/// out: their softmax, but the mean over the views where its largest is below `kSure` and the model
/// averages over views; the other views are seen at `explain.generator_precision`.
Tensor answer_probs(const Model& model, const Tensor& x, const Tensor& logits);

/// The answer as logits [N,K], differentiable in `x` [N,3,H,W]: those of the network where it is
/// sure, the logarithm of the mean elsewhere. What an attacker of the answer needs, as the logits
/// of an image that is all too sure still differ where its probabilities are 0 and 1.
Tensor answer_logits(const Model& model, const Tensor& x);

/// The same probabilities by a classifier or the K+1 discriminator from images [N,3,H,W], on the
/// CPU.
Tensor real_class_probs(const Model& model, const Tensor& images);

/// All of that, from `network_images`.
NetworkAnswers ask(const Model& model, const Tensor& x);

}  // namespace flipside
