#include "flipside/core/numbers.h"
#include "flipside/train/losses.h"
#include "flipside/train/trainer.h"

namespace flipside {
namespace {

/// The sums over all processes, of which each sees the gradient of its own part.
Tensor total_of(const Tensor& own, const ProcessGroup& group) {
  const Tensor total = own.detach().clone();
  group.sum({total});
  return own + (total - own.detach());
}

}  // namespace

SupervisedTrainer::SupervisedTrainer(Model model, ProcessGroup group)
    : Trainer(std::move(model), /*has_phases=*/false, std::move(group)) {}

StepInput SupervisedTrainer::prepare(const Batch& batch) {
  const bool classifier = config_.model.kind == ModelKind::kClassifier;
  const double lr = classifier ? config_.train.lr_classifier : config_.train.lr_generator;
  learners_.at(0)->prepare(lr * schedule_.lr_factor(step_));
  StepInput input;
  input.batch = {batch.images, batch.labels, {}, {}, batch.all_labels};
  if (classifier) {
    Rng rng = step_rng();
    prepare_attacks(input, batch, rng);
    return input;
  }
  Tensor& masks = input.batch.masks = batch.masks;
  if (!masks.defined()) {  // of no image of this batch
    const auto& images = batch.images;
    masks = torch::full({images.size(0), 1, images.size(2), images.size(3)}, kUndefined);
  }
  return input;
}

LossTensors SupervisedTrainer::train_on(const StepInput& input) {
  const Batch& batch = input.batch;
  const bool classifier = config_.model.kind == ModelKind::kClassifier;
  Tensor loss;
  if (classifier) {
    const Tensor logits = model_.discriminator->forward(real_images(input));
    loss =
        weighted(part_of(batch), class_loss(logits, batch.labels)) + robust_penalty(input, logits);
  } else {
    // An image of the reference class has no defect, so its mask is known without a file.
    const Tensor good = (batch.labels == model_.reference_class).view({-1, 1, 1, 1});
    // The Dice of the whole batch is no mean over images: its sums go round the processes instead.
    const auto total = [this](const Tensor& own) { return total_of(own, group_); };
    loss = segmentation_loss(
        model_.segmenter->forward(batch.images), batch.masks.masked_fill(good, 0.0),
        group_.is_alone() ? nullptr : std::function<Tensor(const Tensor&)>(total));
  }
  learners_.at(0)->descend(loss);
  // Every process knows the whole segmentation loss; it is to be counted once.
  const bool counts = classifier || group_.is_first();
  return {{"loss", counts ? loss : torch::zeros_like(loss)}};
}

}  // namespace flipside
