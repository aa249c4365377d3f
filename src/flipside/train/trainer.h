#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "flipside/attack/threat_model.h"
#include "flipside/core/process_group.h"
#include "flipside/core/random.h"
#include "flipside/data/dataset.h"
#include "flipside/model/ema.h"
#include "flipside/model/model.h"
#include "flipside/train/adam.h"
#include "flipside/train/gradient_sync.h"
#include "flipside/train/identity_control.h"
#include "flipside/train/penalty_control.h"
#include "flipside/train/schedule.h"
#include "flipside/train/warmup_control.h"

namespace flipside {

/// The losses of one step, by name, unweighted (what the log and the progress line show).
using StepLosses = std::vector<std::pair<std::string, double>>;

/// The same where they were computed: scalar tensors.
using LossTensors = std::vector<std::pair<std::string, Tensor>>;

/// What a step works on. All that changes from step to step is a tensor (or, with the optimisers,
/// in one), so that the step's work can be captured once and repeated on other values.
struct StepInput {
  Batch batch;
  Tensor targets;  ///< [M] int64, classes that counterfactuals of the last M images have
  Tensor penalty;  ///< scalar, factor on the penalties (5)
  /// [A,3,H,W], where robust training's attacks on the first A images begin: uniform in [0,1), for
  /// TRADES Gaussian; undefined without them. And on the first counterfactuals.
  Tensor noise, cf_noise;
  /// Scalar float64, the bound of these attacks in [0,1] units; undefined without them.
  Tensor bound;

  StepInput to(at::Device device) const;
  /// Takes the values of an input of the same shapes.
  void copy_(const StepInput& other);
};

class StepGraph;  // step_graph.h

/// Owns the model, its optimisers, its averages and the step. Everything random in a step derives
/// from (seed, step), so `state` is all that a resumed run needs.
///
/// A step has two parts: `prepare` draws and counts, on the host; `train_on` computes, on the
/// device, and asks nothing back from it. On a GPU the second part is captured as a CUDA graph.
///
/// In a group of processes each takes its `Shard` of the whole batch, and all take the same step:
/// means over images are weighted by the process's part of them, so that gradients and losses add
/// up over the processes to those of the whole batch (docs/equations.md, "Several processes").
class Trainer {
 public:
  virtual ~Trainer();

  /// One optimisation step on a batch of training images (in a group: on this process's share; the
  /// losses are those of the whole).
  StepLosses step(const Batch& batch);

  /// Steps done, and to be done in all.
  int64_t steps_done() const { return step_; }
  int64_t total_steps() const { return schedule_.total_steps(); }
  const Schedule& schedule() const { return schedule_; }
  /// Where it computes; batches are taken from the CPU.
  at::Device device() const { return device_; }

  /// The model that users get: averaged weights, evaluation mode. Shares nothing with the
  /// weights in training; refreshed at each call.
  Model& averaged();
  /// Throws `Error(kArgument)` that names the weights unless all are finite: a loss can still be so
  /// when the step that it asked for no longer is.
  void require_finite() const;

  /// Raw weights, optimiser moments, averages and the step number, by names that begin with
  /// "state."; and back (throws `Error(kCheckpoint)` for a state that does not fit).
  TensorMap state() const;
  void load_state(const TensorMap& state);
  /// Every process of the group takes the state of the first.
  void share_state();

 protected:
  Trainer(Model model, bool has_phases, ProcessGroup group);

  /// A network in training, with what belongs to it.
  struct Learner {
    Learner(std::string name, torch::nn::Module& module, torch::nn::Module& averaged,
            const TrainConfig& config, const ProcessGroup& group);
    std::string name;
    torch::nn::Module* module;
    torch::nn::Module* averaged;
    Adam optimizer;
    Ema ema;
    std::unique_ptr<GradientSync> sync;  ///< null in a process alone
    /// What the next `descend` needs of learning rate and step number.
    void prepare(double lr);
    /// Gradient of `loss` into this network, one step, average updated.
    void descend(const Tensor& loss);
  };

  /// Of a batch on the CPU.
  virtual StepInput prepare(const Batch& batch) = 0;
  /// Of an input on the device: forward and backward passes, optimisers, averages.
  virtual LossTensors train_on(const StepInput& input) = 0;

  /// The batch's images, the first `robust_fraction` of them replaced by adversarial ones (8) of
  /// the discriminator's (or classifier's) K class logits.
  Tensor real_images(const StepInput& input);
  /// The images with as many of them, from the first, replaced by adversarial ones within `bound`
  /// as `noise` (uniform) has.
  Tensor attacked(const Tensor& images, const Tensor& labels, const Tensor& noise,
                  const Tensor& bound);
  /// (8'): robust_beta * KL of the answers on the batch's first images, of which `logits` [N,K or
  /// K+1] are at hand, to those on their worst neighbours; 0 with the other `robust_loss`.
  Tensor robust_penalty(const StepInput& input, const Tensor& logits);
  /// What a kind of trainer remembers beside its learners; and back.
  /// Called after each step with its losses, alike in all processes.
  virtual void observe_step(const StepLosses& losses) {}
  virtual TensorMap more_state() const { return {}; }
  virtual void load_more_state(const TensorMap& state) {}
  Rng step_rng() const { return Rng({config_.train.seed, kStepStream, uint64_t(step_)}); }

  /// Labels of the whole batch, of which `batch` may be one process's share; how many they are.
  static const Tensor& whole_labels(const Batch& batch);
  static int64_t whole_size(const Batch& batch) { return whole_labels(batch).size(0); }
  /// This process's part of the whole batch.
  static double part_of(const Batch& batch);
  /// Number of images of the whole batch that robust training attacks.
  int64_t num_attacked(const Batch& batch) const;
  /// What this step's attacks on real images need of the input: noise and bound.
  void prepare_attacks(StepInput& input, const Batch& batch, Rng& rng) const;
  /// By `uniform_noise` or `gaussian_noise` for those that this process has of `count` images of
  /// the whole batch from `first` on: [A,3,H,W], undefined where there is none.
  using Draw = Tensor (*)(at::IntArrayRef sizes, std::vector<Rng>& streams);
  Tensor noise_for(int64_t first, int64_t count, const Batch& batch, Draw draw, Rng& rng) const;
  /// What the attacks of a step may do whose input has this `bound`.
  ThreatModel robust_threat(const Tensor& bound) const {
    return {Norm::kLinf, config_.loss.robust_eps / 255.0, bound};
  }

  static constexpr uint64_t kStepStream = 0x57e9;  // keeps the step's draws apart from the loader's

  Config config_;
  ProcessGroup group_;
  at::Device device_;  ///< of everything that follows
  Model model_;
  Model averaged_;
  Schedule schedule_;
  std::vector<std::unique_ptr<Learner>> learners_;
  int64_t step_ = 0;

 private:
  LossTensors compute(const StepInput& input);

  std::unique_ptr<StepGraph> graph_;  ///< null where nothing is captured
};

/// While it lives, a network's weights get no gradients: where only the images' gradient is wanted,
/// computing the weights' would cost a third of the backward pass.
class FrozenWeights {
 public:
  explicit FrozenWeights(torch::nn::Module& module);
  ~FrozenWeights();
  FrozenWeights(const FrozenWeights&) = delete;
  FrozenWeights& operator=(const FrozenWeights&) = delete;

 private:
  std::vector<Tensor> parameters_;
};

/// Generator and K+1 discriminator, equations (1) to (8). With a separate critic, or none, the
/// discriminator is an ordinary classifier that is frozen after its warm-up: so are other
/// counterfactual methods trained (docs/equations.md, "Other methods").
class CounterfactualTrainer : public Trainer {
 public:
  explicit CounterfactualTrainer(Model model, ProcessGroup group = {});

 protected:
  StepInput prepare(const Batch& batch) override;
  LossTensors train_on(const StepInput& input) override;
  void observe_step(const StepLosses& losses) override;
  TensorMap more_state() const override;
  void load_more_state(const TensorMap& state) override;

 private:
  LossTensors warm_up(const StepInput& input);
  /// A step of the discriminator against the finished generator.
  LossTensors train_after(const StepInput& input);

  /// What the generator is asked in one step: the batch's first `own` images for the class that
  /// they have, the others, x [N-own,3,H,W] of classes y, for another class t.
  struct Questions {
    int64_t own = 0;
    Tensor x, y, t;
    Tensor direction;  ///< from y to t: y K + t
    Tensor targets;    ///< [N], for all images
    /// This process's part of all images of the whole batch, of its `own` and of its others.
    double all_part = 1, own_part = 1, part = 1;
  };
  /// How many of a whole batch of so many images are asked for their own class.
  int64_t num_own(int64_t images) const;
  Questions questions_of(const StepInput& input) const;
  /// A class other than its own for each label [N], on the CPU.
  Tensor draw_targets(const Tensor& labels, Rng& rng) const;
  /// One step of what judges the counterfactuals (the discriminator, or a separate critic); gives
  /// its loss.
  Tensor train_critic(const StepInput& input, const Questions& ask, const Tensor& x_cf);
  Tensor discriminator_loss(const StepInput& input, const Questions& ask, const Tensor& x_cf);
  /// What judges the counterfactuals; null where nothing does.
  Learner* judge() const;
  /// `logits`: the discriminator's, of x_cf.
  Tensor deception_loss(const Tensor& logits, const Tensor& x_cf, const Tensor& targets);
  /// Tells the controls of the penalties and of the identity loss how many counterfactuals flipped
  /// and how much images changed. `made`: what the generator made of all images of the batch.
  void observe(const Tensor& logits, const Batch& batch, const Questions& ask, const Tensor& made,
               const Tensor& penalty);
  /// The loss of what lies in the mask alone, (2').
  Tensor mask_loss(const Questions& ask, const Tensor& x_cf);
  Tensor cycle_loss(const Questions& ask, const Tensor& x_cf);
  /// `own`: what the generator made of the images asked for their own class.
  Tensor identity_loss(const Batch& batch, const Questions& ask, const Tensor& own,
                       const Tensor& x_cf);
  /// Weights [M] of images asked for their own class `labels` [M]: those of the reference class
  /// count as much as all others together where every class is drawn equally often. The generator
  /// would else meet "turn it good" nearly always with a defect to take out, and would learn to
  /// change good images too. 1 for two classes. Times the identity control's factor.
  Tensor identity_weights(const Tensor& labels) const;

  WarmupControl warmup_control_;
  PenaltyControl penalty_control_;
  IdentityControl identity_control_;
  Learner* generator_;
  Learner* discriminator_;
  Learner* critic_;  ///< null without a separate critic
};

/// The yardsticks: the ordinary classifier (labels) and the segmenter (masks).
class SupervisedTrainer : public Trainer {
 public:
  explicit SupervisedTrainer(Model model, ProcessGroup group = {});

 protected:
  StepInput prepare(const Batch& batch) override;
  LossTensors train_on(const StepInput& input) override;
};

/// `weight * mean`; the mean itself where the weight is 1, as it is in a process alone.
Tensor weighted(double weight, const Tensor& mean);

/// The trainer for `model.config.model.kind`. In a group, every process calls this with equal
/// models; throws `Error(kConfig)` where `train.batch` has too few images for so many.
std::unique_ptr<Trainer> make_trainer(Model model, const ProcessGroup& group = {});

}  // namespace flipside
