#include <cmath>

#include "flipside/core/error.h"
#include "flipside/train/losses.h"
#include "flipside/train/trainer.h"

namespace flipside {
namespace {

AdversarialForm form_of(const Config& config) {
  return {config.model.fake_head, config.loss.adversarial};
}

}  // namespace

CounterfactualTrainer::CounterfactualTrainer(Model model, ProcessGroup group)
    : Trainer(std::move(model), /*has_warmup=*/true, std::move(group)),
      generator_(learners_.at(0).get()),
      discriminator_(learners_.at(1).get()),
      critic_(model_.critic ? learners_.at(2).get() : nullptr) {
  const int64_t batch = config_.train.batch, others = batch - num_own(batch);
  if (others < group_.size() && !group_.is_alone())
    fail(ErrorCode::kConfig,
         "train.batch = {}: has {} images for counterfactuals, and {} processes need one each; "
         "raise it or start fewer",
         batch, others, group_.size());
}

StepLosses CounterfactualTrainer::warm_up(const Batch& batch) {
  Rng rng = step_rng();
  const Tensor logits = model_.discriminator->forward(real_images(batch, rng));
  const Tensor real = weighted(part_of(batch), real_loss(logits, batch.labels, form_of(config_))) +
                      robust_penalty(batch, logits, rng);
  const double lr = config_.train.lr_classifier * schedule_.lr_factor(step_);
  discriminator_->descend(real, lr);
  return {{"real", real.item<double>()}};
}

int64_t CounterfactualTrainer::num_own(int64_t images) const {
  const double share = config_.loss.idempotence ? 0.0 : config_.train.identity_fraction;
  return std::llround(share * static_cast<double>(images));
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

CounterfactualTrainer::Questions CounterfactualTrainer::draw_questions(const Batch& batch,
                                                                       Rng& rng) const {
  // Drawn for the whole batch, so that it does not matter how many processes share it.
  const int64_t n = whole_size(batch), own = num_own(n);
  const Shard shard = group_.shard();
  const auto part = [](int64_t here, int64_t whole) {
    return whole == 0 ? 0.0 : static_cast<double>(here) / static_cast<double>(whole);
  };
  Questions questions;
  questions.own = shard.size(own);
  questions.x = batch.images.slice(0, questions.own);
  questions.y = batch.labels.slice(0, questions.own);
  questions.t = draw_targets(whole_labels(batch).slice(0, own), rng)
                    .slice(0, shard.first_from(own) - own, n - own, shard.count)
                    .contiguous();
  questions.all_part = part_of(batch);
  questions.own_part = part(questions.own, own);
  questions.part = part(questions.x.size(0), n - own);
  questions.targets = torch::cat({batch.labels.slice(0, 0, questions.own), questions.t});
  return questions;
}

Tensor CounterfactualTrainer::discriminator_loss(const Batch& batch, const Questions& ask,
                                                 const Tensor& x_cf, Rng& rng) {
  // GroupNorm looks at one image at a time, so real and generated ones can share a pass.
  const Tensor real = real_images(batch, rng);
  const Tensor both = torch::cat({real, x_cf.detach()}).contiguous(kChannelsLast);
  const Tensor logits = model_.discriminator->forward(both);
  const int64_t n = real.size(0);
  const Tensor real_logits = logits.slice(0, 0, n);
  return weighted(ask.all_part, real_loss(real_logits, batch.labels, form_of(config_))) +
         robust_penalty(batch, real_logits, rng) +
         (ask.part * config_.loss.fake_weight) *
             fake_loss(logits.slice(0, n), ask.t, form_of(config_));  // (1)
}

double CounterfactualTrainer::train_critic(const Batch& batch, const Questions& ask,
                                           const Tensor& x_cf, Rng& rng) {
  if (config_.model.critic == Critic::kNone) return 0;
  Tensor loss;
  if (critic_) {
    const Tensor both = torch::cat({batch.images, x_cf.detach()}).contiguous(kChannelsLast);
    const Tensor logits = model_.critic->forward(both);
    const int64_t n = batch.images.size(0);
    const AdversarialLoss form = config_.loss.adversarial;
    loss = weighted(ask.all_part, critic_real_loss(logits.slice(0, 0, n), batch.labels, form)) +
           weighted(ask.part, critic_fake_loss(logits.slice(0, n), ask.t, form));
  } else {
    loss = discriminator_loss(batch, ask, x_cf, rng);
  }
  Learner& learner = critic_ ? *critic_ : *discriminator_;
  learner.descend(loss, config_.train.lr_discriminator * schedule_.lr_factor(step_));
  return loss.item<double>();
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
                                            const Tensor& own, const Tensor& x_cf) {
  if (config_.loss.idempotence)
    return mean_absolute_error(model_.generator->forward(x_cf, ask.t).counterfactual, x_cf);
  if (ask.own == 0) return torch::zeros({}, own.options());
  return mean_absolute_error(own, batch.images.slice(0, 0, ask.own));
}

StepLosses CounterfactualTrainer::train_on(const Batch& batch) {
  if (schedule_.in_warmup(step_)) return warm_up(batch);
  Rng rng = step_rng();
  const LossConfig& weight = config_.loss;
  Generator& G = model_.generator;
  const Questions ask = draw_questions(batch, rng);
  const GeneratorResult made = G->forward(batch.images, ask.targets);
  // One node for both parts: two slices would each fill a gradient of the whole with zeros.
  const auto parts =
      made.counterfactual.split_with_sizes({ask.own, batch.images.size(0) - ask.own});
  const Tensor& x_cf = parts[1];
  const double d_loss = train_critic(batch, ask, x_cf, rng);

  FrozenWeights frozen(*model_.discriminator);
  const Tensor zero = torch::zeros({}, x_cf.options());
  const Tensor adv = deception_loss(x_cf, ask.t);                                           // (2)
  const Tensor cyc = cycle_loss(ask, x_cf);                                                 // (3)
  const Tensor id = identity_loss(batch, ask, parts[0], x_cf);                              // (4)
  const Tensor prox = mean_absolute_error(x_cf, ask.x);                                     // (5)
  const Tensor tv = weight.lambda_tv > 0 ? change_variation(ask.x, x_cf) : zero;            // (5)
  const Tensor sparse = made.attention.defined() ? made.attention.slice(0, ask.own).mean()  // (5)
                                                 : zero;
  const Tensor cls = class_loss(made.class_logits, batch.labels);  // (6)
  const Tensor cls_cf = weight.lambda_cls_cf > 0 ? class_loss(G->classify(x_cf), ask.t) : zero;

  const double penalty = schedule_.penalty_factor(step_);
  const double all = ask.all_part, part = ask.part;
  const double id_part = weight.idempotence ? ask.part : ask.own_part;
  const Tensor g_loss =  // (7)
      (part * weight.lambda_adv) * adv + (part * weight.lambda_cyc) * cyc +
      (id_part * weight.lambda_id) * id +
      (part * penalty) *
          (weight.lambda_prox * prox + weight.lambda_tv * tv + weight.lambda_sparse * sparse) +
      (all * weight.lambda_cls) * cls + (part * weight.lambda_cls_cf) * cls_cf;
  generator_->descend(g_loss, config_.train.lr_generator * schedule_.generator_lr_factor(step_));

  StepLosses losses{{"D", d_loss},
                    {"adv", part * adv.item<double>()},
                    {"id", id_part * id.item<double>()},
                    {"prox", part * prox.item<double>()},
                    {"cls", all * cls.item<double>()}};
  if (weight.cycles > 0) losses.emplace_back("cyc", part * cyc.item<double>());
  if (made.attention.defined()) losses.emplace_back("sparse", part * sparse.item<double>());
  return losses;
}

}  // namespace flipside
