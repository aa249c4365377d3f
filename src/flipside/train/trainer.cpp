#include "flipside/train/trainer.h"

#include <cmath>

#include "flipside/attack/pgd.h"
#include "flipside/core/device.h"
#include "flipside/core/error.h"
#include "flipside/model/blocks.h"
#include "flipside/train/step_graph.h"

namespace flipside {
namespace {

Model moved(Model model, at::Device device) {
  model.to(device);
  return model;
}

/// One copy from the device for all of them; summed over the group, of which each has a part.
StepLosses read_losses(const LossTensors& losses, const ProcessGroup& group) {
  std::vector<Tensor> values;
  for (const auto& [name, value] : losses) values.push_back(value.detach());
  const Tensor host = torch::stack(values).to(torch::kCPU, torch::kFloat64);
  group.sum({host});
  StepLosses result;
  for (size_t i = 0; i < losses.size(); ++i)
    result.emplace_back(losses[i].first, host[static_cast<int64_t>(i)].item<double>());
  return result;
}

}  // namespace

Trainer::Learner::Learner(std::string learner_name, torch::nn::Module& trained,
                          torch::nn::Module& average, const TrainConfig& config,
                          const ProcessGroup& group)
    : name(std::move(learner_name)),
      module(&trained),
      averaged(&average),
      optimizer(trained, {config.beta1, config.beta2, /*eps=*/1e-8, config.weight_decay}),
      ema(trained, config.ema_decay) {
  if (!group.is_alone()) sync = std::make_unique<GradientSync>(trained.parameters(), group);
}

void Trainer::Learner::prepare(double lr) {
  optimizer.prepare(lr);
  ema.prepare();
}

void Trainer::Learner::descend(const Tensor& loss) {
  optimizer.zero_grad();
  if (sync)
    sync->backward(loss);
  else
    loss.backward();
  optimizer.step();
  ema.apply(*module);
}

StepInput StepInput::to(at::Device device) const {
  const auto move = [device](const Tensor& tensor) {
    return tensor.defined() ? tensor.to(device, /*non_blocking=*/true) : tensor;
  };
  return {batch.to(device), move(targets), move(penalty), move(noise), move(cf_noise), move(bound)};
}

void StepInput::copy_(const StepInput& other) {
  const auto take = [](Tensor& to, const Tensor& from) {
    TORCH_CHECK(to.defined() == from.defined(), "a step's input changed its parts");
    if (to.defined()) to.copy_(from, /*non_blocking=*/true);
  };
  take(batch.images, other.batch.images);
  take(batch.labels, other.batch.labels);
  take(batch.masks, other.batch.masks);
  take(batch.all_labels, other.batch.all_labels);
  take(targets, other.targets);
  take(penalty, other.penalty);
  take(noise, other.noise);
  take(cf_noise, other.cf_noise);
  take(bound, other.bound);
}

Trainer::Trainer(Model model, bool has_phases, ProcessGroup group)
    : config_(model.config),
      group_(std::move(group)),
      device_(resolve_device(config_.train.device, group_.local_rank())),
      model_(moved(std::move(model), device_)),
      averaged_(moved(make_model(config_, model_.class_names, model_.reference_class), device_)),
      schedule_(config_.train, has_phases) {
  if (config_.train.batch < group_.size())
    fail(ErrorCode::kConfig,
         "train.batch = {}: {} processes need an image each; raise it or start fewer",
         config_.train.batch, group_.size());
  const auto add = [this](const char* name, auto& trained, auto& average) {
    if (!trained.is_empty())
      learners_.push_back(
          std::make_unique<Learner>(name, *trained, *average, config_.train, group_));
  };
  add("generator", model_.generator, averaged_.generator);
  add("discriminator", model_.discriminator, averaged_.discriminator);
  add("critic", model_.critic, averaged_.critic);
  add("segmenter", model_.segmenter, averaged_.segmenter);
  model_.train();
}

Trainer::~Trainer() = default;

LossTensors Trainer::compute(const StepInput& input) {
  // A group waits on the host.
  if (!device_.is_cuda() || !group_.is_alone()) return train_on(input.to(device_));
  if (!graph_) graph_ = std::make_unique<StepGraph>(device_);
  return graph_->run(static_cast<int>(schedule_.phase(step_)), input,
                     [this](const StepInput& on_device) { return train_on(on_device); });
}

StepLosses Trainer::step(const Batch& batch) {
  const ActivationType type(config_.train.precision, device_);
  const StepLosses losses = read_losses(compute(prepare(batch)), group_);
  for (const auto& [name, value] : losses)
    if (!std::isfinite(value))
      fail(ErrorCode::kArgument,
           "loss {} = {} at step {}: must be finite; lower train.lr_generator and "
           "train.lr_discriminator",
           name, value, step_);
  ++step_;
  observe_step(losses);
  return losses;
}

void Trainer::require_finite() const {
  const torch::NoGradGuard no_grad;
  for (const auto& learner : learners_)
    for (const auto& item : learner->module->named_parameters())
      if (!item.value().isfinite().all().item<bool>())
        fail(ErrorCode::kArgument,
             "weights {}.{} after step {}: must be finite; go on from the last checkpoint with "
             "lower "
             "train.lr_generator and train.lr_discriminator",
             learner->name, item.key(), step_);
}

Model& Trainer::averaged() {
  for (auto& learner : learners_) learner->ema.copy_to(*learner->averaged);
  averaged_.eval();
  return averaged_;
}

TensorMap Trainer::state() const {
  TensorMap state{{"state.step", torch::tensor(step_, torch::kInt64)}};
  const auto put = [&state](const std::string& prefix, const auto& tensors) {
    for (const auto& [name, tensor] : tensors) state[prefix + name] = tensor;
  };
  for (const auto& learner : learners_) {
    const std::string prefix = "state." + learner->name + ".";
    for (const auto& item : learner->module->named_parameters())
      state[prefix + "weights." + item.key()] = item.value().detach();
    put(prefix + "adam.", learner->optimizer.state());
    put(prefix + "ema.", learner->ema.state());
    state[prefix + "ema_updates"] = torch::tensor(learner->ema.updates(), torch::kInt64);
  }
  put("state.", more_state());
  return state;
}

namespace {

/// The tensors whose names begin with `prefix`, without it.
TensorMap with_prefix(const TensorMap& state, const std::string& prefix) {
  TensorMap chosen;
  for (const auto& [name, tensor] : state)
    if (name.rfind(prefix, 0) == 0) chosen[name.substr(prefix.size())] = tensor;
  return chosen;
}

void load_weights(torch::nn::Module& module, const TensorMap& weights) {
  torch::NoGradGuard no_grad;
  for (auto& item : module.named_parameters()) {
    const auto found = weights.find(item.key());
    TORCH_CHECK(found != weights.end(), "weights lack ", item.key());
    TORCH_CHECK(found->second.sizes() == item.value().sizes(), item.key(), " has another shape");
    item.value().copy_(found->second);
  }
}

}  // namespace

void Trainer::load_state(const TensorMap& state) {
  try {
    for (auto& learner : learners_) {
      const std::string prefix = "state." + learner->name + ".";
      load_weights(*learner->module, with_prefix(state, prefix + "weights."));
      learner->optimizer.load_state(with_prefix(state, prefix + "adam."));
      learner->ema.load_state(with_prefix(state, prefix + "ema."));
      learner->ema.set_updates(state.at(prefix + "ema_updates").item<int64_t>());
    }
    load_more_state(with_prefix(state, "state."));
    const auto step = state.at("state.step").item<int64_t>();
    if (step < 0 || step > total_steps())
      fail(ErrorCode::kCheckpoint,
           "state.step = {}: must be in [0,{}], the steps of this training; start a new run", step,
           total_steps());
    step_ = step;
  } catch (const c10::Error& error) {
    fail(ErrorCode::kCheckpoint, "training state does not fit: {}; start a new run",
         error.what_without_backtrace());
  } catch (const std::out_of_range&) {
    fail(ErrorCode::kCheckpoint,
         "the checkpoint holds no training state; resume from last.safetensors or start a new run");
  }
}

void Trainer::share_state() {
  if (group_.is_alone()) return;
  TensorMap shared = state();  // sorted by name: in every process the same order
  for (auto& [name, tensor] : shared) group_.broadcast({tensor});
  load_state(shared);
}

const Tensor& Trainer::whole_labels(const Batch& batch) {
  return batch.all_labels.defined() ? batch.all_labels : batch.labels;
}

double Trainer::part_of(const Batch& batch) {
  return static_cast<double>(batch.images.size(0)) / static_cast<double>(whole_size(batch));
}

int64_t Trainer::num_attacked(const Batch& batch) const {
  return std::llround(config_.loss.robust_fraction * static_cast<double>(whole_size(batch)));
}

void Trainer::prepare_attacks(StepInput& input, const Batch& batch, Rng& rng) const {
  const auto& loss = config_.loss;
  if (loss.robust_fraction == 0 && loss.robust_cf_fraction == 0) return;
  input.noise =
      noise_for(/*first=*/0, num_attacked(batch), batch,
                loss.robust_loss == RobustLoss::kTrades ? gaussian_noise : uniform_noise, rng);
  input.bound =
      torch::scalar_tensor(schedule_.bound_factor(step_) * loss.robust_eps / 255.0, torch::kDouble);
}

Tensor Trainer::noise_for(int64_t first, int64_t count, const Batch& batch, Draw draw,
                          Rng& rng) const {
  std::vector<Rng> streams;
  for (int64_t i = 0; i < count; ++i) {
    const Rng stream(rng.next());
    if (group_.shard().has(first + i)) streams.push_back(stream);
  }
  if (streams.empty()) return {};
  std::vector<int64_t> sizes = batch.images.sizes().vec();
  sizes[0] = static_cast<int64_t>(streams.size());
  return draw(sizes, streams);
}

Tensor Trainer::real_images(const StepInput& input) {
  const Batch& batch = input.batch;
  if (config_.loss.robust_loss != RobustLoss::kAdversarial) return batch.images;
  return attacked(batch.images, batch.labels, input.noise, input.bound);
}

Tensor Trainer::attacked(const Tensor& images, const Tensor& labels, const Tensor& noise,
                         const Tensor& bound) {
  if (!noise.defined()) return images;
  const int64_t count = noise.size(0);
  const Tensor clean = images.slice(0, 0, count);
  FrozenWeights frozen(*model_.discriminator);
  PgdOptions options;
  options.steps = config_.loss.robust_steps;
  const Tensor adversarial =
      pgd_from(linf_start(clean, bound, noise), class_victim(model_), robust_threat(bound), clean,
               {labels.slice(0, 0, count), {}}, options);
  return torch::cat({adversarial, images.slice(0, count)}).contiguous(kChannelsLast);
}

Tensor Trainer::robust_penalty(const StepInput& input, const Tensor& logits) {
  const auto& loss = config_.loss;
  if (!input.noise.defined() || loss.robust_loss != RobustLoss::kTrades)
    return torch::zeros({}, logits.options());
  const int64_t attacked = input.noise.size(0);
  const double part =
      static_cast<double>(attacked) / static_cast<double>(num_attacked(input.batch));
  const Victim victim = class_victim(model_);
  const Tensor clean = input.batch.images.slice(0, 0, attacked);
  Tensor worst;
  {
    FrozenWeights frozen(*model_.discriminator);
    worst = divergence_attack(victim, robust_threat(input.bound), clean, input.noise,
                              loss.robust_steps);
  }
  const Tensor answers = logits.slice(0, 0, attacked).slice(1, 0, model_.num_classes());
  return (part * loss.robust_beta) *
         divergence(answers, victim.logits(worst.contiguous(kChannelsLast))).mean();
}

FrozenWeights::FrozenWeights(torch::nn::Module& module) : parameters_(module.parameters()) {
  for (auto& parameter : parameters_) parameter.set_requires_grad(false);
}

FrozenWeights::~FrozenWeights() {
  for (auto& parameter : parameters_) parameter.set_requires_grad(true);
}

Tensor weighted(double weight, const Tensor& mean) { return weight == 1.0 ? mean : weight * mean; }

std::unique_ptr<Trainer> make_trainer(Model model, const ProcessGroup& group) {
  if (model.config.model.kind == ModelKind::kCounterfactual)
    return std::make_unique<CounterfactualTrainer>(std::move(model), group);
  return std::make_unique<SupervisedTrainer>(std::move(model), group);
}

}  // namespace flipside
