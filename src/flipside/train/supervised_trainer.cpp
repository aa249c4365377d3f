#include "flipside/core/numbers.h"
#include "flipside/train/losses.h"
#include "flipside/train/trainer.h"

namespace flipside {

SupervisedTrainer::SupervisedTrainer(Model model)
    : Trainer(std::move(model), /*has_warmup=*/false) {}

StepInput SupervisedTrainer::prepare(const Batch& batch) {
  const bool classifier = config_.model.kind == ModelKind::kClassifier;
  const double lr = classifier ? config_.train.lr_classifier : config_.train.lr_generator;
  learners_.at(0)->prepare(lr * schedule_.lr_factor(step_));
  Rng rng = step_rng();
  StepInput input{{batch.images, batch.labels, {}, {}}, {}, {}, attack_streams(batch, rng)};
  if (classifier) return input;
  Tensor& masks = input.batch.masks = batch.masks;
  if (!masks.defined()) {  // of no image of this batch
    const auto& images = batch.images;
    masks = torch::full({images.size(0), 1, images.size(2), images.size(3)}, kUndefined);
  }
  return input;
}

LossTensors SupervisedTrainer::train_on(const StepInput& input) {
  const Batch& batch = input.batch;
  Tensor loss;
  if (config_.model.kind == ModelKind::kClassifier) {
    const Tensor logits = model_.discriminator->forward(real_images(input));
    loss = class_loss(logits, batch.labels) + robust_penalty(input, logits);
  } else {
    // An image of the reference class has no defect, so its mask is known without a file.
    const Tensor good = (batch.labels == model_.reference_class).view({-1, 1, 1, 1});
    loss = segmentation_loss(model_.segmenter->forward(batch.images),
                             batch.masks.masked_fill(good, 0.0));
  }
  learners_.at(0)->descend(loss);
  return {{"loss", loss}};
}

}  // namespace flipside
