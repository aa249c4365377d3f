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
    : Trainer(std::move(model), /*has_phases=*/true, std::move(group)),
      warmup_control_(config_.train.discriminator_warmup, config_.train.longest_warmup,
                      model_.num_classes()),
      penalty_control_(model_.num_classes() * model_.num_classes(), config_.loss.flip_goal,
                       device_),
      identity_control_(config_.loss.false_change_goal, device_),
      generator_(learners_.at(0).get()),
      discriminator_(learners_.at(1).get()),
      critic_(model_.critic ? learners_.at(2).get() : nullptr) {
  const int64_t batch = config_.train.batch, others = batch - num_own(batch);
  if (others < group_.size())
    fail(
        ErrorCode::kConfig,
        "train.batch = {}: of its images {} are asked to stay as they are (train.identity_fraction "
        "= {}), which leaves {} for counterfactuals where each process needs one ({} here); raise "
        "the batch, lower that fraction or start fewer processes",
        batch, num_own(batch), config_.train.identity_fraction, others, group_.size());
}

Trainer::Learner* CounterfactualTrainer::judge() const {
  if (config_.model.critic == Critic::kNone) return nullptr;
  return critic_ ? critic_ : discriminator_;
}

StepInput CounterfactualTrainer::prepare(const Batch& batch) {
  const TrainConfig& train = config_.train;
  Rng rng = step_rng();
  StepInput input;
  input.batch = {batch.images, batch.labels, {}, {}, batch.all_labels};
  const int64_t images = whole_size(batch), own = num_own(images);
  const Phase phase = schedule_.phase(step_);
  if (phase == Phase::kWarmup) {
    discriminator_->prepare(train.lr_classifier * schedule_.lr_factor(step_) *
                            warmup_control_.lr_factor(step_));
  } else {
    // Drawn for the whole batch, so that it does not matter how many processes share it.
    const Shard shard = group_.shard();
    input.targets = draw_targets(whole_labels(batch).slice(0, own), rng)
                        .slice(0, shard.first_from(own) - own, images - own, shard.count)
                        .contiguous();
    input.penalty = torch::tensor(static_cast<float>(schedule_.penalty_factor(step_)));
    const double lr = train.lr_discriminator * schedule_.lr_factor(step_);
    if (phase == Phase::kAfter) {
      discriminator_->prepare(lr);
    } else {
      generator_->prepare(train.lr_generator * schedule_.generator_lr_factor(step_));
      if (judge()) judge()->prepare(lr);
    }
  }
  prepare_attacks(input, batch, rng);
  if (phase != Phase::kWarmup) {
    const double attacked = config_.loss.robust_cf_fraction * static_cast<double>(images - own);
    input.cf_noise = noise_for(own, std::llround(attacked), batch, uniform_noise, rng);
  }
  return input;
}

LossTensors CounterfactualTrainer::warm_up(const StepInput& input) {
  const Batch& batch = input.batch;
  const Tensor logits = model_.discriminator->forward(real_images(input));
  const Tensor real = weighted(part_of(batch), real_loss(logits, batch.labels, form_of(config_))) +
                      robust_penalty(input, logits);
  discriminator_->descend(real);
  return {{"real", real}};
}

void CounterfactualTrainer::observe_step(const StepLosses& losses) {
  if (step_ > schedule_.warmup()) return;
  warmup_control_.observe(step_, losses.front().second);
  schedule_.set_warmup(warmup_control_.steps());
}

LossTensors CounterfactualTrainer::train_after(const StepInput& input) {
  const Questions ask = questions_of(input);
  Tensor x_cf;
  {
    torch::NoGradGuard no_grad;
    x_cf = model_.generator->forward(ask.x, ask.t).counterfactual;
  }
  const Tensor loss = discriminator_loss(input, ask, x_cf);
  discriminator_->descend(loss);
  return {{"D", loss}};
}

int64_t CounterfactualTrainer::num_own(int64_t images) const {
  const double share = config_.loss.idempotence ? 0.0 : config_.train.identity_fraction;
  return std::llround(share * static_cast<double>(images));
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

CounterfactualTrainer::Questions CounterfactualTrainer::questions_of(const StepInput& input) const {
  const Batch& batch = input.batch;
  const int64_t n = whole_size(batch), own = num_own(n);
  const auto part = [](int64_t here, int64_t whole) {
    return whole == 0 ? 0.0 : static_cast<double>(here) / static_cast<double>(whole);
  };
  Questions questions;
  questions.own = group_.shard().size(own);
  questions.x = batch.images.slice(0, questions.own);
  questions.y = batch.labels.slice(0, questions.own);
  questions.t = input.targets;
  questions.all_part = part_of(batch);
  questions.own_part = part(questions.own, own);
  questions.part = part(questions.x.size(0), n - own);
  questions.direction = questions.y * model_.num_classes() + questions.t;
  questions.targets = torch::cat({batch.labels.slice(0, 0, questions.own), questions.t});
  return questions;
}

Tensor CounterfactualTrainer::discriminator_loss(const StepInput& input, const Questions& ask,
                                                 const Tensor& x_cf) {
  // GroupNorm looks at one image at a time, so real and generated ones can share a pass.
  const Tensor real = real_images(input);
  const Tensor made = attacked(x_cf.detach(), ask.t, input.cf_noise, input.bound);
  const Tensor both = torch::cat({real, made}).contiguous(kChannelsLast);
  const Tensor logits = model_.discriminator->forward(both);
  const int64_t n = real.size(0);
  const Tensor real_logits = logits.slice(0, 0, n);
  return weighted(ask.all_part, real_loss(real_logits, input.batch.labels, form_of(config_))) +
         robust_penalty(input, real_logits) +
         (ask.part * config_.loss.fake_weight) *
             fake_loss(logits.slice(0, n), ask.t, form_of(config_));  // (1)
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
    const AdversarialLoss form = config_.loss.adversarial;
    loss = weighted(ask.all_part, critic_real_loss(logits.slice(0, 0, n), batch.labels, form)) +
           weighted(ask.part, critic_fake_loss(logits.slice(0, n), ask.t, form));
  } else {
    loss = discriminator_loss(input, ask, x_cf);
  }
  judge()->descend(loss);
  return loss;
}

TensorMap CounterfactualTrainer::more_state() const {
  TensorMap state = warmup_control_.state();
  if (config_.loss.flip_goal > 0) state.merge(penalty_control_.state());
  if (config_.loss.false_change_goal > 0) state.merge(identity_control_.state());
  return state;
}

void CounterfactualTrainer::load_more_state(const TensorMap& state) {
  warmup_control_.load_state(state);
  schedule_.set_warmup(warmup_control_.steps());
  if (config_.loss.flip_goal > 0) penalty_control_.load_state(state);
  if (config_.loss.false_change_goal > 0) identity_control_.load_state(state);
}

void CounterfactualTrainer::observe(const Tensor& logits, const Batch& batch, const Questions& ask,
                                    const Tensor& made, const Tensor& penalty) {
  if (config_.loss.flip_goal == 0 && config_.loss.false_change_goal == 0) return;
  torch::NoGradGuard no_grad;
  const Tensor flipped = real_class_logits(logits).argmax(/*dim=*/1) == ask.t;
  const Tensor flips = penalty_control_.count(ask.direction, flipped);
  const Tensor is_reference = batch.labels == model_.reference_class;
  const Tensor is_asked = ask.targets == model_.reference_class;
  const Tensor changes = IdentityControl::count(
      (made - batch.images).square().mean({1, 2, 3}), is_reference & is_asked,
      ~is_reference & is_asked,
      torch::cat({torch::zeros_like(is_asked.slice(0, 0, ask.own)), flipped}));
  if (!group_.is_alone()) group_.sum({flips, changes});
  const Tensor adjust = penalty >= 1;
  penalty_control_.observe(flips, adjust);
  identity_control_.observe(changes, adjust);
}

Tensor CounterfactualTrainer::deception_loss(const Tensor& logits, const Tensor& x_cf,
                                             const Tensor& targets) {
  if (config_.model.critic == Critic::kDiscriminator)
    return adversarial_loss(logits, targets, form_of(config_)) +
           config_.loss.flip_weight * class_loss(real_class_logits(logits), targets);
  const Tensor loss = class_loss(real_class_logits(logits), targets);
  if (!critic_) return loss;
  FrozenWeights frozen(*model_.critic);
  return loss +
         critic_adversarial_loss(model_.critic->forward(x_cf), targets, config_.loss.adversarial);
}

Tensor CounterfactualTrainer::mask_loss(const Questions& ask, const Tensor& x_cf) {
  if (config_.loss.lambda_mask == 0) return torch::zeros({}, x_cf.options());
  const Tensor masked = within_mask(ask.x, x_cf).contiguous(kChannelsLast);
  return class_loss(real_class_logits(model_.discriminator->forward(masked)), ask.t);
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
  const Tensor change = change_size(batch.images.slice(0, 0, ask.own), own);
  return (identity_weights(batch.labels.slice(0, 0, ask.own)) * change).mean();
}

Tensor CounterfactualTrainer::identity_weights(const Tensor& labels) const {
  const auto classes = static_cast<double>(model_.num_classes());
  const double reference = config_.data.balanced ? classes / 2 : 1;
  const double other = config_.data.balanced ? classes / (2 * (classes - 1)) : 1;
  const Tensor is_reference = (labels == model_.reference_class).to(torch::kFloat32);
  return is_reference * (reference * identity_control_.factor()) + (1 - is_reference) * other;
}

LossTensors CounterfactualTrainer::train_on(const StepInput& input) {
  const Phase phase = schedule_.phase(step_);
  if (phase == Phase::kWarmup) return warm_up(input);
  if (phase == Phase::kAfter) return train_after(input);
  const Batch& batch = input.batch;
  const LossConfig& weight = config_.loss;
  Generator& G = model_.generator;
  const Questions ask = questions_of(input);
  const GeneratorResult made = G->forward(batch.images, ask.targets);
  // One node for both parts: two slices would each fill a gradient of the whole with zeros.
  const auto parts =
      made.counterfactual.split_with_sizes({ask.own, batch.images.size(0) - ask.own});
  const Tensor& x_cf = parts[1];
  const Tensor d_loss = train_critic(input, ask, x_cf);

  FrozenWeights frozen(*model_.discriminator);
  const Tensor zero = torch::zeros({}, x_cf.options());
  const Tensor logits = model_.discriminator->forward(x_cf);
  const Tensor adv = deception_loss(logits, x_cf, ask.t);                         // (2)
  const Tensor mask = mask_loss(ask, x_cf);                                       // (2')
  const Tensor cyc = cycle_loss(ask, x_cf);                                       // (3)
  const Tensor id = identity_loss(batch, ask, parts[0], x_cf);                    // (4)
  const Tensor prox = change_size(ask.x, x_cf);                                   // (5), [M]
  const Tensor tv = weight.lambda_tv > 0 ? change_variation(ask.x, x_cf) : zero;  // (5), [M]
  const Tensor sparse = made.attention.defined()                                  // (5), [M]
                            ? made.attention.slice(0, ask.own).mean({1, 2, 3})
                            : zero;
  const Tensor cls = class_loss(made.class_logits, batch.labels);  // (6)
  const Tensor cls_cf = weight.lambda_cls_cf > 0 ? class_loss(G->classify(x_cf), ask.t) : zero;

  const Tensor change =
      penalty_control_.factors(ask.direction) *
      (weight.lambda_prox * prox + weight.lambda_tv * tv + weight.lambda_sparse * sparse);
  observe(logits, batch, ask, made.counterfactual, input.penalty);
  const double all = ask.all_part, part = ask.part;
  const double id_part = weight.idempotence ? ask.part : ask.own_part;
  const Tensor g_loss =  // (7)
      (part * weight.lambda_adv) * adv + (part * weight.lambda_mask) * mask +
      (part * weight.lambda_cyc) * cyc + (id_part * weight.lambda_id) * id +
      weighted(part, input.penalty) * change.mean() + (all * weight.lambda_cls) * cls +
      (part * weight.lambda_cls_cf) * cls_cf;
  generator_->descend(g_loss);

  LossTensors losses{{"D", d_loss},
                     {"adv", weighted(part, adv)},
                     {"id", weighted(id_part, id)},
                     {"prox", weighted(part, prox.mean())},
                     {"cls", weighted(all, cls)}};
  if (weight.lambda_mask > 0) losses.emplace_back("mask", weighted(part, mask));
  if (weight.cycles > 0) losses.emplace_back("cyc", weighted(part, cyc));
  if (made.attention.defined()) losses.emplace_back("sparse", weighted(part, sparse.mean()));
  return losses;
}

}  // namespace flipside
