#pragma once

#include "flipside/attack/victim.h"
#include "flipside/model/model.h"

namespace flipside {

// Victims that ask a model more than once, in evaluation mode. They share its networks.

/// The answer as the model gives it, [N,K] logits: to the image as it lies where that is sure, else
/// to the image in all views (docs/equations.md, "The answer"). Asking a segmenter is an
/// `Error(kArgument)`, here and below.
Victim answer_victim(const Model& model);

/// The mean probabilities of all views, [N,K], as logits.
Victim view_victim(const Model& model);

/// The same with the generator's head, which must be brought to the same wrong answer: the product
/// of both probabilities, so that neither is neglected once the other is won. `Error(kArgument)`
/// without a generator.
Victim view_and_head_victim(const Model& model);

/// The answers of `victim`, [N,K], which must not be rejected either: `rejecting` (`reject_victim`)
/// says by how much the score exceeds what it lets through. [N,K+1].
Victim unrejected_victim(const Victim& victim, const Victim& rejecting);

}  // namespace flipside
