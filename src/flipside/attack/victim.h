#pragma once

#include <functional>

#include "flipside/core/torch.h"
#include "flipside/model/model.h"

namespace flipside {

/// Images [N,C,H,W] in [0,1], anywhere -> logits [N,M] where the networks are, differentiable in
/// the images. Normalisation belongs inside.
using LogitsFunction = std::function<Tensor(const Tensor& images)>;

/// What is attacked: logits whose largest is the answer. The first `num_classes` are classes; with
/// `rejects` there is one more, "I do not say", which an attacker has not won against.
struct Victim {
  LogitsFunction logits;
  int64_t num_classes = 0;  ///< K
  bool rejects = false;

  /// Answers [N] int64 in [0,K], K where it rejects. No gradient.
  Tensor answers(const Tensor& images) const;
  /// M, found by asking about the first image.
  int64_t num_logits(const Tensor& images) const;
};

/// What an attacker wants of N images, on their device: with `targets` undefined any class but the
/// image's own, or else just that one. Both [N] int64 in [0,K).
struct Goal {
  Tensor labels, targets;
  Goal select(const Tensor& rows) const;  ///< rows [M] int64
};

/// What an attack raises, [N] each (docs/equations.md, "Attacks").
enum class AttackLoss {
  kCrossEntropy,  ///< of the classes (and "reject") that the attacker must avoid
  kMargin,        ///< Carlini and Wagner 2017: best wanted logit - best unwanted logit
  kDlr,           ///< Croce and Hein 2020: the margin over the spread of the largest logits
};

/// The loss of each image, to be raised; > 0 for the margin, and for DLR without targets, exactly
/// where the attacker has won. DLR needs 3 logits, its targeted form 4: `Error(kArgument)` with
/// fewer.
Tensor attack_loss(AttackLoss loss, const Victim& victim, const Tensor& logits, const Goal& goal);

/// The margin, [N]: the attacker has won where it is > 0.
Tensor attack_margin(const Victim& victim, const Tensor& logits, const Goal& goal);

/// An objective's values and gradient at some images.
struct Slope {
  Tensor logits;    ///< [N,M]
  Tensor loss;      ///< [N]
  Tensor gradient;  ///< of the images' shape
};
/// Where the images are, and the goal with them.
Slope attack_slope(AttackLoss loss, const Victim& victim, const Tensor& images, const Goal& goal);

// Victims made from a model, in evaluation mode. They share its networks.

/// D's K class logits, or the ordinary classifier's. `Error(kArgument)` for a segmenter.
Victim class_victim(const Model& model);
/// The K logits of the generator's head; `Error(kArgument)` without a generator.
Victim head_victim(const Model& model);

/// What the reject option looks at.
enum class RejectScore {
  kFakeness,   ///< probability of "fake"
  kFakeLogit,  ///< the raw logit of "fake"
};
/// The score [N] of D's logits [N,K+1].
Tensor reject_score(const Tensor& logits, RejectScore score, FakeHead head);

/// D with the reject option: it rejects where the score is above `threshold`. K+1 logits
/// (c_1..c_K, r) with r = max c + (score - threshold), fakeness and its threshold taken through
/// the logit function, so that the largest one is the answer and an attack on them is the adaptive
/// one: it must find a wrong class **and** keep the score down. Needs a counterfactual model.
Victim reject_victim(const Model& model, RejectScore score, double threshold);

}  // namespace flipside
