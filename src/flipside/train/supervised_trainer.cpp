#include "flipside/train/losses.h"
#include "flipside/train/trainer.h"

#include <limits>

namespace flipside {
namespace {

/// The sums over all processes, of which each sees the gradient of its own part.
Tensor total_of(const Tensor& own, const ProcessGroup& group) {
  const Tensor total = own.detach().clone();
  group.sum({total});
  return own + (total - own.detach());
}

/// Masks of the batch's images [N,1,H,W]; NaN where none is known.
Tensor masks_of(const Batch& batch, int64_t reference_class) {
  const Tensor masks =
      batch.masks.defined()
          ? batch.masks
          : torch::full_like(batch.images.slice(1, 0, 1), std::numeric_limits<float>::quiet_NaN());
  // An image of the reference class has no defect, so its mask is known without a file.
  const Tensor good = (batch.labels == reference_class).view({-1, 1, 1, 1});
  return torch::where(good, torch::zeros({}, masks.options()), masks);
}

}  // namespace

SupervisedTrainer::SupervisedTrainer(Model model, ProcessGroup group)
    : Trainer(std::move(model), /*has_warmup=*/false, std::move(group)) {}

StepLosses SupervisedTrainer::train_on(const Batch& batch) {
  Rng rng = step_rng();
  const bool classifier = config_.model.kind == ModelKind::kClassifier;
  const double lr = classifier ? config_.train.lr_classifier : config_.train.lr_generator;
  Tensor loss;
  if (classifier) {
    const Tensor logits = model_.discriminator->forward(real_images(batch, rng));
    loss = weighted(part_of(batch), class_loss(logits, batch.labels)) +
           robust_penalty(batch, logits, rng);
  } else {
    // The Dice of the whole batch is no mean over images: its sums go round the processes instead.
    const auto total = [this](const Tensor& own) { return total_of(own, group_); };
    loss = segmentation_loss(
        model_.segmenter->forward(batch.images), masks_of(batch, model_.reference_class),
        group_.is_alone() ? nullptr : std::function<Tensor(const Tensor&)>(total));
  }
  learners_.at(0)->descend(loss, lr * schedule_.lr_factor(step_));
  // Every process knows the whole segmentation loss; it is to be counted once.
  const bool counts = classifier || group_.is_first();
  return {{"loss", counts ? loss.item<double>() : 0.0}};
}

}  // namespace flipside
