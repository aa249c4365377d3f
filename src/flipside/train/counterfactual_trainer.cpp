#include <cmath>

#include "flipside/train/losses.h"
#include "flipside/train/trainer.h"

namespace flipside {
namespace {

AdversarialForm form_of(const Config& config) {
  return {config.model.fake_head, config.loss.adversarial};
}

}  // namespace

CounterfactualTrainer::CounterfactualTrainer(Model model)
    : Trainer(std::move(model), /*has_warmup=*/true),
      generator_(learners_.at(0).get()),
      discriminator_(learners_.at(1).get()) {}

StepLosses CounterfactualTrainer::warm_up(const Batch& batch) {
  Rng rng = step_rng();
  const Tensor logits = model_.discriminator->forward(real_images(batch, rng));
  const Tensor real = real_loss(logits, batch.labels, form_of(config_));
  const double lr = config_.train.lr_classifier * schedule_.lr_factor(step_);
  discriminator_->descend(real, lr);
  return {{"real", real.item<double>()}};
}

Tensor CounterfactualTrainer::draw_targets(const Tensor& labels, Rng& rng) const {
  const int64_t num_classes = model_.num_classes(), reference = model_.reference_class;
  Tensor targets = torch::empty_like(labels, torch::kCPU);
  const Tensor host = labels.cpu();
  const auto from = host.accessor<int64_t, 1>();
  auto to = targets.accessor<int64_t, 1>();
  for (int64_t i = 0; i < host.size(0); ++i) {
    // Defects go to the reference class half of the time: that direction makes the masks.
    const bool to_reference = num_classes > 2 && from[i] != reference && rng.chance(0.5);
    to[i] = to_reference ? reference : (from[i] + rng.between(1, num_classes - 1)) % num_classes;
  }
  return targets.to(labels.device());
}

Tensor CounterfactualTrainer::discriminator_loss(const Batch& batch, const Tensor& counterfactual,
                                                 const Tensor& targets, Rng& rng) {
  // GroupNorm looks at one image at a time, so real and generated ones can share a pass.
  const Tensor real = real_images(batch, rng);
  const Tensor both = torch::cat({real, counterfactual.detach()}).contiguous(kChannelsLast);
  const Tensor logits = model_.discriminator->forward(both);
  const int64_t n = real.size(0);
  return real_loss(logits.slice(0, 0, n), batch.labels, form_of(config_)) +
         config_.loss.fake_weight *
             fake_loss(logits.slice(0, n), targets, form_of(config_));  // equation (1)
}

StepLosses CounterfactualTrainer::train_on(const Batch& batch) {
  if (schedule_.in_warmup(step_)) return warm_up(batch);
  Rng rng = step_rng();
  const LossConfig& weight = config_.loss;
  Generator& G = model_.generator;
  // The first `own` images are asked for the class they have, the others for another one.
  const int64_t n = batch.images.size(0);
  const int64_t own =
      weight.idempotence ? 0 : std::llround(config_.train.identity_fraction * double(n));
  const Tensor targets =
      torch::cat({batch.labels.slice(0, 0, own), draw_targets(batch.labels.slice(0, own), rng)});
  const Tensor x = batch.images.slice(0, own), y = batch.labels.slice(0, own);
  const Tensor t = targets.slice(0, own);

  const GeneratorResult made = G->forward(batch.images, targets);
  const Tensor x_cf = made.counterfactual.slice(0, own);

  const Tensor d_loss = discriminator_loss(batch, x_cf, t, rng);
  discriminator_->descend(d_loss, config_.train.lr_discriminator * schedule_.lr_factor(step_));

  FrozenWeights frozen(*model_.discriminator);
  const Tensor zero = torch::zeros({}, x.options());
  const Tensor adv =
      adversarial_loss(model_.discriminator->forward(x_cf), t, form_of(config_));  // (2)
  Tensor cyc = zero, back = x_cf;                                                  // (3)
  for (int64_t i = 0; i < weight.cycles; ++i) {
    if (i > 0) back = G->forward(back, t).counterfactual;
    back = G->forward(back, y).counterfactual;
    cyc = cyc + mean_absolute_error(back, x) / static_cast<double>(weight.cycles);
  }
  Tensor id = zero;  // (4)
  if (weight.idempotence)
    id = mean_absolute_error(G->forward(x_cf, t).counterfactual, x_cf);
  else if (own > 0)
    id = mean_absolute_error(made.counterfactual.slice(0, 0, own), batch.images.slice(0, 0, own));
  const Tensor prox = mean_absolute_error(x_cf, x);  // (5)
  const Tensor tv = weight.lambda_tv > 0 ? change_variation(x, x_cf) : zero;
  const Tensor sparse = made.attention.defined() ? made.attention.slice(0, own).mean() : zero;
  const Tensor cls = class_loss(made.class_logits, batch.labels);  // (6)
  const Tensor cls_cf = weight.lambda_cls_cf > 0 ? class_loss(G->classify(x_cf), t) : zero;

  const double penalty = schedule_.penalty_factor(step_);
  const Tensor g_loss =  // (7)
      weight.lambda_adv * adv + weight.lambda_cyc * cyc + weight.lambda_id * id +
      penalty *
          (weight.lambda_prox * prox + weight.lambda_tv * tv + weight.lambda_sparse * sparse) +
      weight.lambda_cls * cls + weight.lambda_cls_cf * cls_cf;
  generator_->descend(g_loss, config_.train.lr_generator * schedule_.generator_lr_factor(step_));

  StepLosses losses{{"D", d_loss.item<double>()},
                    {"adv", adv.item<double>()},
                    {"id", id.item<double>()},
                    {"prox", prox.item<double>()},
                    {"cls", cls.item<double>()}};
  if (weight.cycles > 0) losses.emplace_back("cyc", cyc.item<double>());
  if (made.attention.defined()) losses.emplace_back("sparse", sparse.item<double>());
  return losses;
}

}  // namespace flipside
