#include "flipside/eval/victims.h"

#include "flipside/explain/answer.h"

namespace flipside {

Victim answer_victim(const Model& model) {
  return {
      [model](const Tensor& images) { return answer_logits(model, network_images(model, images)); },
      model.num_classes(), /*rejects=*/false};
}

Victim view_victim(const Model& model) {
  return {[model](const Tensor& images) { return mean_logits(view_probs(model, images)); },
          model.num_classes(), /*rejects=*/false};
}

Victim view_and_head_victim(const Model& model) {
  const Victim views = view_victim(model), head = head_victim(model);
  return {[views, head](const Tensor& images) {
            return views.logits(images) + head.logits(images).log_softmax(/*dim=*/1);
          },
          model.num_classes(), /*rejects=*/false};
}

Victim unrejected_victim(const Victim& victim, const Victim& rejecting) {
  const int64_t num_classes = victim.num_classes;
  const auto logits = [victim, rejecting, num_classes](const Tensor& images) {
    const Tensor classes = victim.logits(images), all = rejecting.logits(images);
    const Tensor excess = all.select(1, num_classes) - all.slice(1, 0, num_classes).amax(1);
    return torch::cat({classes, (classes.amax(1) + excess).unsqueeze(1)}, /*dim=*/1);
  };
  return {logits, num_classes, /*rejects=*/true};
}

}  // namespace flipside
