#include "flipside/attack/victim.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "flipside/core/error.h"

namespace flipside {
namespace {

constexpr double kLowest = -std::numeric_limits<double>::infinity();

/// [N,M] of bool: the answers that count as the attacker's success.
Tensor wanted(const Victim& victim, const Tensor& logits, const Goal& goal) {
  const Tensor chosen = goal.targets.defined() ? goal.targets : goal.labels;
  Tensor mask = torch::zeros(logits.sizes(), logits.options().dtype(torch::kBool));
  mask.scatter_(/*dim=*/1, chosen.unsqueeze(1), true);
  if (goal.targets.defined()) return mask;
  mask = mask.logical_not();
  if (victim.rejects) mask.select(/*dim=*/1, victim.num_classes).fill_(false);
  return mask;
}

Tensor margin_of(const Tensor& logits, const Tensor& mask) {
  return logits.masked_fill(mask.logical_not(), kLowest).amax(/*dim=*/1) -
         logits.masked_fill(mask, kLowest).amax(/*dim=*/1);
}

void check_outputs(const Tensor& logits, const Goal& goal) {
  const int64_t least = goal.targets.defined() ? 4 : 3;
  if (logits.size(1) < least)
    fail(ErrorCode::kArgument, "DLR loss on {} logits: must be {} or more; use the margin loss",
         logits.size(1), least);
}

/// The networks' images: their device and layout.
Tensor network_images(const Tensor& images, const torch::nn::Module& network) {
  return images.to(network.parameters().front().device()).contiguous(kChannelsLast);
}

void require_counterfactual(const Model& model, const char* what) {
  if (model.config.model.kind != ModelKind::kCounterfactual)
    fail(ErrorCode::kArgument,
         "{}: only a counterfactual model has it; train one with --model "
         "counterfactual",
         what);
}

}  // namespace

Tensor Victim::answers(const Tensor& images) const {
  torch::NoGradGuard no_grad;
  return logits(images).argmax(/*dim=*/1).cpu();
}

int64_t Victim::num_logits(const Tensor& images) const {
  const torch::NoGradGuard no_grad;
  return logits(images.slice(0, 0, 1)).size(1);
}

Goal Goal::select(const Tensor& rows) const {
  return {labels.index_select(0, rows),
          targets.defined() ? targets.index_select(0, rows) : Tensor()};
}

Tensor attack_margin(const Victim& victim, const Tensor& logits, const Goal& goal) {
  return margin_of(logits, wanted(victim, logits, goal));
}

Tensor attack_loss(AttackLoss loss, const Victim& victim, const Tensor& logits, const Goal& goal) {
  const Tensor mask = wanted(victim, logits, goal);
  if (loss == AttackLoss::kMargin) return margin_of(logits, mask);
  if (loss == AttackLoss::kCrossEntropy) {
    // -log p(unwanted) for any class but y; log p(t) for one target: both rise with success.
    const Tensor all = logits.logsumexp(/*dim=*/1);
    const bool targeted = goal.targets.defined();
    const Tensor part =
        logits.masked_fill(targeted ? mask.logical_not() : mask, kLowest).logsumexp(/*dim=*/1);
    return targeted ? part - all : all - part;
  }
  check_outputs(logits, goal);
  constexpr double kNoSpread = 1e-12;  // keeps the ratio defined for equal logits
  const Tensor sorted = std::get<0>(logits.sort(/*dim=*/1, /*descending=*/true));
  if (goal.targets.defined()) {
    const Tensor spread = sorted.select(1, 0) - 0.5 * (sorted.select(1, 2) + sorted.select(1, 3));
    const auto at = [&](const Tensor& column) {
      return logits.gather(/*dim=*/1, column.unsqueeze(1)).squeeze(1);
    };
    return (at(goal.targets) - at(goal.labels)) / (spread + kNoSpread);
  }
  return margin_of(logits, mask) / (sorted.select(1, 0) - sorted.select(1, 2) + kNoSpread);
}

Slope attack_slope(AttackLoss loss, const Victim& victim, const Tensor& images, const Goal& goal) {
  const Tensor x = images.detach().requires_grad_(true);
  const Tensor logits = victim.logits(x);
  const Tensor value = attack_loss(loss, victim, logits.to(x.device()), goal);
  // A function that does not look at its input has no gradient at all: that is zero, and is
  // reported as such.
  Tensor gradient;
  if (value.requires_grad())
    gradient = torch::autograd::grad({value.sum()}, {x}, {}, /*retain_graph=*/false,
                                     /*create_graph=*/false, /*allow_unused=*/true)[0];
  if (!gradient.defined()) gradient = torch::zeros_like(images);
  return {logits.detach().to(x.device()), value.detach(), gradient.nan_to_num(0.0)};
}

Victim class_victim(const Model& model) {
  if (!model.discriminator)
    fail(ErrorCode::kArgument,
         "a segmenter has no classes to attack; give a classifier or a "
         "counterfactual model");
  Discriminator network = model.discriminator;
  const int64_t num_classes = model.num_classes();
  return {[network, num_classes](const Tensor& images) mutable {
            return network->forward(network_images(images, *network)).slice(1, 0, num_classes);
          },
          num_classes, /*rejects=*/false};
}

Victim head_victim(const Model& model) {
  require_counterfactual(model, "the generator's head");
  Generator network = model.generator;
  return {[network](const Tensor& images) mutable {
            return network->classify(network_images(images, *network));
          },
          model.num_classes(), /*rejects=*/false};
}

Tensor reject_score(const Tensor& logits, RejectScore score, FakeHead head) {
  if (score == RejectScore::kFakeLogit) return logits.select(1, logits.size(1) - 1);
  return fakeness(logits, head);
}

Victim reject_victim(const Model& model, RejectScore score, double threshold) {
  require_counterfactual(model, "the reject option");
  const FakeHead head = model.config.model.fake_head;
  if (score == RejectScore::kFakeness) {
    constexpr double kEdge = 1e-9;  // probabilities of 0 and 1 have no logit
    const double p = std::clamp(threshold, kEdge, 1 - kEdge);
    threshold = std::log(p / (1 - p));
  }
  Discriminator network = model.discriminator;
  const int64_t num_classes = model.num_classes();
  const auto logits = [network, num_classes, score, head, threshold](const Tensor& images) mutable {
    const Tensor all = network->forward(network_images(images, *network));
    const Tensor classes = all.slice(1, 0, num_classes);
    Tensor raised = all.select(1, num_classes);  // the fake logit; sigmoid's own inverse
    if (score == RejectScore::kFakeness && head == FakeHead::kSoftmax)
      raised = raised - classes.logsumexp(/*dim=*/1);  // logit of the softmax probability
    const Tensor reject = classes.amax(/*dim=*/1) + raised - threshold;
    return torch::cat({classes, reject.unsqueeze(1)}, /*dim=*/1);
  };
  return {logits, num_classes, /*rejects=*/true};
}

}  // namespace flipside
