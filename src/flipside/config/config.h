#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "flipside/core/device.h"

namespace flipside {

/// What is trained. `kCounterfactual` is the system itself; the others are its yardsticks.
enum class ModelKind {
  kCounterfactual,  ///< generator and K+1 discriminator
  kClassifier,      ///< the discriminator's backbone with K outputs: baseline and judge
  kSegmenter,       ///< the generator's U-Net with one output, trained on masks
};

/// How the generator writes the counterfactual x_cf, in [0,1] units (docs/equations.md, "Outputs").
enum class GeneratorOutput {
  kResidualAttention,  ///< clamp(x + a tanh(delta)), a = sigmoid attention in [0,1]
  kResidual,           ///< clamp(x + tanh(delta))
  kDirect,             ///< sigmoid(o)
};

/// How the discriminator says "fake".
enum class FakeHead {
  kSoftmax,     ///< class K of one softmax over K+1 logits
  kFactorised,  ///< p(fake) by a sigmoid of its own; the K class logits stand apart
};

/// What tells real from generated while the generator learns.
enum class Critic {
  kDiscriminator,  ///< the classifier itself, by its answer "fake" (the method of this project)
  kSeparate,       ///< a network of its own beside a classifier that is frozen after the warm-up
  kNone,           ///< nothing: a frozen classifier alone
};

/// What networks convolve in; see `ActivationType`.
enum class Precision {
  kAuto,  ///< bfloat16 where the processor multiplies it, float32 elsewhere
  kFloat32,
  kBFloat16,
};

/// The adversarial part of the losses.
enum class AdversarialLoss { kCrossEntropy, kHinge, kLeastSquares };

/// How the discriminator learns to withstand attacks.
enum class RobustLoss {
  kAdversarial,  ///< PGD images with their true class in place of real ones (8)
  kTrades,       ///< a penalty on what an attack can make of the answer (8')
};

/// Network shapes.
struct ModelConfig {
  ModelKind kind = ModelKind::kCounterfactual;
  GeneratorOutput output = GeneratorOutput::kResidualAttention;
  FakeHead fake_head = FakeHead::kSoftmax;
  Critic critic = Critic::kDiscriminator;
  std::vector<int64_t> generator_widths{16, 32, 64, 96};
  int64_t residual_blocks = 2;
  std::vector<int64_t> discriminator_widths{24, 48, 96, 128};
};

/// Weights of the losses; images in [0,1], so the pixel terms weigh half of what they would on
/// [-1,1]. Equations (1) to (8) of docs/equations.md.
struct LossConfig {
  AdversarialLoss adversarial = AdversarialLoss::kCrossEntropy;
  double lambda_adv = 1.0;
  double flip_weight = 1.0;
  double lambda_mask = 1.0;
  double lambda_cyc = 10.0;
  int64_t cycles = 0;
  double lambda_id = 6.0;
  double false_change_goal = 0.4;
  bool idempotence = false;
  double lambda_prox = 4.0;
  double lambda_tv = 0.0;
  double lambda_sparse = 0.02;
  double flip_goal = 0.0;
  double lambda_cls = 0.5;
  double lambda_cls_cf = 0.0;
  double fake_weight = 0.5;
  RobustLoss robust_loss = RobustLoss::kAdversarial;
  double robust_fraction = 0.0;
  double robust_cf_fraction = 0.0;
  double robust_eps = 4.0;
  int64_t robust_steps = 3;
  double robust_beta = 6.0;
};

/// How images are read and augmented.
struct DataConfig {
  int64_t size = 64;
  double val_fraction = 0.15;
  double test_fraction = 0.15;
  uint64_t split_seed = 1;
  std::string reference_class;
  int64_t cache_mb = 2048;
  bool balanced = true;
  bool flip = true;
  bool turn = true;
  double zoom = 0.1;
  double shift = 0.05;
  double warp_fraction = 0.5;
  double gain = 0.15;
  double offset = 0.08;
  double tint = 0.06;
  int64_t workers = 1;
};

/// The optimisation.
struct TrainConfig {
  int64_t steps = 3000;
  int64_t discriminator_warmup = 300;
  int64_t longest_warmup = 9000;
  int64_t discriminator_after = 0;
  int64_t batch = 16;
  double lr_generator = 1e-3;
  double lr_discriminator = 4e-4;
  double lr_classifier = 1e-3;
  double beta1 = 0.5;
  double beta2 = 0.99;
  double weight_decay = 0.0;
  int64_t lr_warmup = 20;
  double lr_decay = 0.4;
  double ramp = 0.3;
  double robust_ramp = 0.3;
  double identity_fraction = 0.3;
  double ema_decay = 0.99;
  int64_t validate_every = 500;
  int64_t validation_images = 1000;
  int64_t patience = 0;
  int64_t checkpoint_every = 250;
  uint64_t seed = 1;
  int64_t threads = 0;
  double coverage = 0.95;
  Precision precision = Precision::kFloat32;
  DeviceChoice device = DeviceChoice::kAuto;
};

/// How images are explained; nothing that training looks at. The discriminator answers in float32,
/// and in all views, where it is asked again, at `generator_precision`.
struct ExplainConfig {
  bool average_views = true;
  bool one_pass = false;    ///< the generator has learned the mean over the views (`distil`)
  bool second_pass = true;  ///< over counterfactuals that do not convince the discriminator
  double furthest = 1.4;    ///< times its change, for a counterfactual that D is not sure of
  int64_t edge_radius = 1;  ///< pixels; 0: maps are not fitted to edges
  Precision generator_precision = Precision::kAuto;
};

struct Config {
  ModelConfig model;
  LossConfig loss;
  DataConfig data;
  TrainConfig train;
  ExplainConfig explain;
};

/// Reads a TOML file over `config`. Throws `Error(kConfig)` that names the file and the key for
/// unknown keys (with the nearest known one), values out of range and text that is no TOML.
void load_config(const std::filesystem::path& file, Config& config);
/// The same from text; `origin` is how messages call it.
void parse_config(const std::string& text, const std::string& origin, Config& config);
/// What `to_toml` stored beside a model. Where an earlier version wrote it, options it did not know
/// have their defaults, but for three: splits were drawn by `train.seed` then, not
/// `data.split_seed`, nothing was steered by `loss.false_change_goal`, and there was no
/// `loss.lambda_mask`.
Config parse_stored_config(const std::string& text, const std::string& origin);
Config load_stored_config(const std::filesystem::path& file);
/// The whole resolved configuration as TOML; `parse_config` reads it back to an equal one.
std::string to_toml(const Config& config);
/// Checks what no single key can (throws `Error(kConfig)`): widths for the image size and so on.
void validate_config(const Config& config);

/// The candidate nearest to `word` by edit distance ("" for no candidates): "did you mean ...?".
std::string nearest_name(const std::string& word, const std::vector<std::string>& candidates);

}  // namespace flipside
