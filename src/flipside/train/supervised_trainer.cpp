#include "flipside/train/losses.h"
#include "flipside/train/trainer.h"

namespace flipside {

SupervisedTrainer::SupervisedTrainer(Model model)
    : Trainer(std::move(model), /*has_warmup=*/false) {}

StepLosses SupervisedTrainer::train_on(const Batch& batch) {
  Rng rng = step_rng();
  const bool classifier = config_.model.kind == ModelKind::kClassifier;
  const double lr = classifier ? config_.train.lr_classifier : config_.train.lr_generator;
  Tensor loss;
  if (classifier) {
    const Tensor logits = model_.discriminator->forward(real_images(batch, rng));
    loss = class_loss(logits, batch.labels) + robust_penalty(batch, logits, rng);
  } else {
    // An image of the reference class has no defect, so its mask is known without a file.
    const Tensor good = (batch.labels == model_.reference_class).view({-1, 1, 1, 1});
    const Tensor masks = torch::where(good, torch::zeros({}, batch.masks.options()), batch.masks);
    loss = segmentation_loss(model_.segmenter->forward(batch.images), masks);
  }
  learners_.at(0)->descend(loss, lr * schedule_.lr_factor(step_));
  return {{"loss", loss.item<double>()}};
}

}  // namespace flipside
