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
      discriminator_(learners_.at(1).get()),
      critic_(model_.critic ? learners_.at(2).get() : nullptr) {}

Trainer::Learner* CounterfactualTrainer::judge() const {
  if (config_.model.critic == Critic::kNone) return nullptr;
  return critic_ ? critic_ : discriminator_;
}

StepInput CounterfactualTrainer::prepare(const Batch& batch) {
  const TrainConfig& train = config_.train;
  Rng rng = step_rng();
  StepInput input{{batch.images, batch.labels, {}, {}}, {}, {}, {}};
  if (schedule_.in_warmup(step_)) {
    discriminator_->prepare(train.lr_classifier * schedule_.lr_factor(step_));
  } else {
    input.targets = draw_targets(batch.labels.slice(0, num_own(batch)), rng);
    input.penalty = torch::tensor(static_cast<float>(schedule_.penalty_factor(step_)));
    generator_->prepare(train.lr_generator * schedule_.generator_lr_factor(step_));
    if (judge()) judge()->prepare(train.lr_discriminator * schedule_.lr_factor(step_));
  }
  input.streams = attack_streams(batch, rng);
  return input;
}

LossTensors CounterfactualTrainer::warm_up(const StepInput& input) {
  const Tensor logits = model_.discriminator->forward(real_images(input));
  const Tensor real =
      real_loss(logits, input.batch.labels, form_of(config_)) + robust_penalty(input, logits);
  discriminator_->descend(real);
  return {{"real", real}};
}

Tensor CounterfactualTrainer::draw_targets(const Tensor& labels, Rng& rng) const {
  const int64_t num_classes = model_.num_classes(), reference = model_.reference_class;
  Tensor targets = torch::empty_like(labels);
  const auto from = labels.accessor<int64_t, 1>();
  auto to = targets.accessor<int64_t, 1>();
  for (int64_t i = 0; i < labels.size(0); ++i) {
    // Defects go to the reference class half of the time: that direction makes the masks.
    const bool to_reference = num_classes > 2 && from[i] != reference && rng.chance(0.5);
    to[i] = to_reference ? reference : (from[i] + rng.between(1, num_classes - 1)) % num_classes;
  }
  return targets;
}

int64_t CounterfactualTrainer::num_own(const Batch& batch) const {
  const double share = config_.loss.idempotence ? 0.0 : config_.train.identity_fraction;
  return std::llround(share * static_cast<double>(batch.images.size(0)));
}

CounterfactualTrainer::Questions CounterfactualTrainer::questions_of(const StepInput& input) const {
  const Batch& batch = input.batch;
  Questions questions;
  questions.own = num_own(batch);
  questions.x = batch.images.slice(0, questions.own);
  questions.y = batch.labels.slice(0, questions.own);
  questions.t = input.targets;
  questions.targets = torch::cat({batch.labels.slice(0, 0, questions.own), questions.t});
  return questions;
}

Tensor CounterfactualTrainer::discriminator_loss(const StepInput& input, const Questions& ask,
                                                 const Tensor& x_cf) {
  // GroupNorm looks at one image at a time, so real and generated ones can share a pass.
  const Tensor real = real_images(input);
  const Tensor both = torch::cat({real, x_cf.detach()}).contiguous(kChannelsLast);
  const Tensor logits = model_.discriminator->forward(both);
  const int64_t n = real.size(0);
  const Tensor real_logits = logits.slice(0, 0, n);
  return real_loss(real_logits, input.batch.labels, form_of(config_)) +
         robust_penalty(input, real_logits) +
         config_.loss.fake_weight * fake_loss(logits.slice(0, n), ask.t, form_of(config_));  // (1)
}

Tensor CounterfactualTrainer::train_critic(const StepInput& input, const Questions& ask,
                                           const Tensor& x_cf) {
  if (!judge()) return torch::zeros({}, x_cf.options());
  Tensor loss;
  if (critic_) {
    const Batch& batch = input.batch;
    const Tensor both = torch::cat({batch.images, x_cf.detach()}).contiguous(kChannelsLast);
    const Tensor logits = model_.critic->forward(both);
    const int64_t n = batch.images.size(0);
    loss = critic_loss(logits.slice(0, 0, n), batch.labels, logits.slice(0, n), ask.t,
                       config_.loss.adversarial);
  } else {
    loss = discriminator_loss(input, ask, x_cf);
  }
  judge()->descend(loss);
  return loss;
}

Tensor CounterfactualTrainer::deception_loss(const Tensor& x_cf, const Tensor& targets) {
  const Tensor logits = model_.discriminator->forward(x_cf);
  if (config_.model.critic == Critic::kDiscriminator)
    return adversarial_loss(logits, targets, form_of(config_)) +
           config_.loss.flip_weight * class_loss(real_class_logits(logits), targets);
  const Tensor loss = class_loss(real_class_logits(logits), targets);
  if (!critic_) return loss;
  FrozenWeights frozen(*model_.critic);
  return loss +
         critic_adversarial_loss(model_.critic->forward(x_cf), targets, config_.loss.adversarial);
}

Tensor CounterfactualTrainer::cycle_loss(const Questions& ask, const Tensor& x_cf) {
  Tensor loss = torch::zeros({}, ask.x.options()), back = x_cf;
  for (int64_t i = 0; i < config_.loss.cycles; ++i) {
    if (i > 0) back = model_.generator->forward(back, ask.t).counterfactual;
    back = model_.generator->forward(back, ask.y).counterfactual;
    loss = loss + mean_absolute_error(back, ask.x) / static_cast<double>(config_.loss.cycles);
  }
  return loss;
}

Tensor CounterfactualTrainer::identity_loss(const Batch& batch, const Questions& ask,
                                            const Tensor& made, const Tensor& x_cf) {
  if (config_.loss.idempotence)
    return mean_absolute_error(model_.generator->forward(x_cf, ask.t).counterfactual, x_cf);
  if (ask.own == 0) return torch::zeros({}, made.options());
  return mean_absolute_error(made.slice(0, 0, ask.own), batch.images.slice(0, 0, ask.own));
}

LossTensors CounterfactualTrainer::train_on(const StepInput& input) {
  if (schedule_.in_warmup(step_)) return warm_up(input);
  const Batch& batch = input.batch;
  const LossConfig& weight = config_.loss;
  Generator& G = model_.generator;
  const Questions ask = questions_of(input);
  const GeneratorResult made = G->forward(batch.images, ask.targets);
  const Tensor x_cf = made.counterfactual.slice(0, ask.own);
  const Tensor d_loss = train_critic(input, ask, x_cf);

  FrozenWeights frozen(*model_.discriminator);
  const Tensor zero = torch::zeros({}, x_cf.options());
  const Tensor adv = deception_loss(x_cf, ask.t);                                           // (2)
  const Tensor cyc = cycle_loss(ask, x_cf);                                                 // (3)
  const Tensor id = identity_loss(batch, ask, made.counterfactual, x_cf);                   // (4)
  const Tensor prox = mean_absolute_error(x_cf, ask.x);                                     // (5)
  const Tensor tv = weight.lambda_tv > 0 ? change_variation(ask.x, x_cf) : zero;            // (5)
  const Tensor sparse = made.attention.defined() ? made.attention.slice(0, ask.own).mean()  // (5)
                                                 : zero;
  const Tensor cls = class_loss(made.class_logits, batch.labels);  // (6)
  const Tensor cls_cf = weight.lambda_cls_cf > 0 ? class_loss(G->classify(x_cf), ask.t) : zero;

  const Tensor g_loss =  // (7)
      weight.lambda_adv * adv + weight.lambda_cyc * cyc + weight.lambda_id * id +
      input.penalty *
          (weight.lambda_prox * prox + weight.lambda_tv * tv + weight.lambda_sparse * sparse) +
      weight.lambda_cls * cls + weight.lambda_cls_cf * cls_cf;
  generator_->descend(g_loss);

  LossTensors losses{{"D", d_loss}, {"adv", adv}, {"id", id}, {"prox", prox}, {"cls", cls}};
  if (weight.cycles > 0) losses.emplace_back("cyc", cyc);
  if (made.attention.defined()) losses.emplace_back("sparse", sparse);
  return losses;
}

}  // namespace flipside
