#include "flipside/config/fields.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <sstream>

#include "flipside/core/error.h"
#include "flipside/core/numbers.h"

namespace flipside {
namespace {

[[noreturn]] void reject(const Field& field, const std::string& value, const std::string& allowed) {
  fail(ErrorCode::kConfig, "{} = {}: must be {}", field.key(), value, allowed);
}

template <typename T>
T parse_number(const Field& field, const std::string& text) {
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) reject(field, text, field.range);
  return value;
}

/// Collects fields; each `add` is one option's whole definition.
class FieldList {
 public:
  void section(std::string name) { section_ = std::move(name); }

  template <typename T>
  void number(const std::string& name, T& value, double low, double high, const std::string& help) {
    std::string range = std::is_integral_v<T> ? "a whole number" : "a number";
    if (high == kInfinity)
      range += fmt::format(" >= {:g}", low);
    else
      range += fmt::format(" from {:g} to {:g}", low, high);
    append(
        name, range, help,
        [&value, low, high](const Field& field, const std::string& text) {
          const T parsed = parse_number<T>(field, text);
          if (!(static_cast<double>(parsed) >= low && static_cast<double>(parsed) <= high))
            reject(field, text, field.range);
          value = parsed;
        },
        [&value] { return fmt::format("{}", value); });
  }

  void boolean(const std::string& name, bool& value, const std::string& help) {
    append(
        name, "true or false", help,
        [&value](const Field& field, const std::string& text) {
          if (text != "true" && text != "false") reject(field, text, field.range);
          value = text == "true";
        },
        [&value] { return std::string(value ? "true" : "false"); });
    fields_.back().is_bool = true;
  }

  void text(const std::string& name, std::string& value, const std::string& help) {
    append(
        name, "text", help,
        [&value](const Field& field, const std::string& text) {
          if (text.find_first_of("\"\\\n#") != std::string::npos)
            reject(field, text, "text without quotes, #, backslashes and line breaks");
          value = text;
        },
        [&value] { return '"' + value + '"'; });
  }

  template <typename Enum>
  void choice(const std::string& name, Enum& value,
              const std::vector<std::pair<std::string, Enum>>& names, const std::string& help) {
    std::string range = "one of";
    for (size_t i = 0; i < names.size(); ++i) range += (i ? ", " : " ") + names[i].first;
    append(
        name, range, help,
        [&value, names](const Field& field, const std::string& text) {
          for (const auto& [word, meaning] : names)
            if (word == text) {
              value = meaning;
              return;
            }
          reject(field, text, field.range);
        },
        [&value, names] {
          for (const auto& [word, meaning] : names)
            if (meaning == value) return '"' + word + '"';
          return std::string("\"\"");
        });
  }

  void widths(const std::string& name, std::vector<int64_t>& value, const std::string& help) {
    append(
        name, "2 to 6 whole numbers from 8 to 1024, multiples of 8, as 16,32,64", help,
        [&value](const Field& field, const std::string& text) {
          std::vector<int64_t> parsed;
          std::stringstream parts(text);
          for (std::string part; std::getline(parts, part, ',');) {
            part.erase(std::remove_if(part.begin(), part.end(),
                                      [](char c) { return c == ' ' || c == '[' || c == ']'; }),
                       part.end());
            const auto width = parse_number<int64_t>(field, part);
            if (width < 8 || width > 1024 || width % 8) reject(field, text, field.range);
            parsed.push_back(width);
          }
          if (parsed.size() < 2 || parsed.size() > 6) reject(field, text, field.range);
          value = parsed;
        },
        [&value] { return fmt::format("[{}]", fmt::join(value, ", ")); });
  }

  std::vector<Field> take() { return std::move(fields_); }

 private:
  void append(const std::string& name, const std::string& range, const std::string& help,
              std::function<void(const Field&, const std::string&)> set,
              std::function<std::string()> get) {
    Field field;
    field.section = section_;
    field.name = name;
    field.range = range;
    field.help = help;
    field.default_value = get();
    field.get = std::move(get);
    const Field described = field;
    field.set = [described, set = std::move(set)](const std::string& text) {
      set(described, text);
    };
    fields_.push_back(std::move(field));
  }

  std::string section_;
  std::vector<Field> fields_;
};

void model_fields(FieldList& list, ModelConfig& m) {
  list.section("model");
  list.choice("model", m.kind,
              {{"counterfactual", ModelKind::kCounterfactual},
               {"classifier", ModelKind::kClassifier},
               {"segmenter", ModelKind::kSegmenter}},
              "what to train");
  list.choice("output", m.output,
              {{"residual_attention", GeneratorOutput::kResidualAttention},
               {"residual", GeneratorOutput::kResidual},
               {"direct", GeneratorOutput::kDirect}},
              "how the generator writes the counterfactual");
  list.choice("fake_head", m.fake_head,
              {{"softmax", FakeHead::kSoftmax}, {"factorised", FakeHead::kFactorised}},
              "\"fake\" as class K+1, or as a logit of its own");
  list.choice(
      "critic", m.critic,
      {{"discriminator", Critic::kDiscriminator},
       {"separate", Critic::kSeparate},
       {"none", Critic::kNone}},
      "what tells real from generated; the last two freeze the classifier after its warm-up");
  list.widths("generator_widths", m.generator_widths, "channels of the generator per level");
  list.number("residual_blocks", m.residual_blocks, 0, 16, "residual blocks at the bottleneck");
  list.widths("discriminator_widths", m.discriminator_widths,
              "channels of the discriminator per level");
}

void loss_fields(FieldList& list, LossConfig& l) {
  list.section("loss");
  list.choice("adversarial", l.adversarial,
              {{"cross_entropy", AdversarialLoss::kCrossEntropy},
               {"hinge", AdversarialLoss::kHinge},
               {"least_squares", AdversarialLoss::kLeastSquares}},
              "form of the adversarial loss");
  list.number("lambda_adv", l.lambda_adv, 0, kInfinity, "weight of (2): taken for a real target");
  list.number("flip_weight", l.flip_weight, 0, kInfinity,
              "in (2): weight of the target among the real classes alone");
  list.number("lambda_mask", l.lambda_mask, 0, kInfinity,
              "weight of (2'): what lies in the mask alone is the target; 0: not");
  list.number("lambda_cyc", l.lambda_cyc, 0, kInfinity, "weight of (3): there and back again");
  list.number("cycles", l.cycles, 0, 8, "number of cycles in (3); 0 switches it off");
  list.number("lambda_id", l.lambda_id, 0, kInfinity, "weight of (4): own class changes nothing");
  list.number(
      "false_change_goal", l.false_change_goal, 0, 0.999,
      "change of good images asked to stay, as a share of that of defects turned good, that "
      "the weight of (4) is steered to; 0: not");
  list.boolean("idempotence", l.idempotence, "(4) as |G(x_cf, t) - x_cf| instead");
  list.number("lambda_prox", l.lambda_prox, 0, kInfinity, "weight of (5): change little");
  list.number("lambda_tv", l.lambda_tv, 0, kInfinity, "weight of the change's total variation");
  list.number("lambda_sparse", l.lambda_sparse, 0, kInfinity, "weight of the mean attention");
  list.number("flip_goal", l.flip_goal, 0, 0.999,
              "share of flips that the weight of (5) is steered to, per direction; 0: not");
  list.number("lambda_cls", l.lambda_cls, 0, kInfinity, "weight of (6): the generator's head");
  list.number("lambda_cls_cf", l.lambda_cls_cf, 0, kInfinity, "(6) on counterfactuals too");
  list.number("fake_weight", l.fake_weight, 0, kInfinity, "weight of fakes in (1)");
  list.number("robust_fraction", l.robust_fraction, 0, 1,
              "share of real images replaced by adversarial ones, (8)");
  list.number("robust_cf_fraction", l.robust_cf_fraction, 0, 1,
              "share of counterfactuals replaced by adversarial ones, (8); factorised head only");
  list.number("robust_eps", l.robust_eps, 0, 255, "L-inf bound of (8), in 1/255");
  list.number("robust_steps", l.robust_steps, 1, 100, "PGD steps of (8)");
  list.choice("robust_loss", l.robust_loss,
              {{"adversarial", RobustLoss::kAdversarial}, {"trades", RobustLoss::kTrades}},
              "attacked images with their class, or a penalty on how far the answer moves (8')");
  list.number("robust_beta", l.robust_beta, 0, kInfinity, "weight of the penalty of (8')");
}

void data_fields(FieldList& list, DataConfig& d) {
  list.section("data");
  list.number("size", d.size, 16, 1024, "side of the square images the networks see, pixels");
  list.number("val_fraction", d.val_fraction, 0.01, 0.8, "validation share where no split exists");
  list.number("test_fraction", d.test_fraction, 0, 0.8, "test share where no split exists");
  list.number("split_seed", d.split_seed, 0, 9e18,
              "which images those are; the same for every --seed, so that trainings compare");
  list.text("reference_class", d.reference_class, "class of the good parts; empty: by its name");
  list.number("cache_mb", d.cache_mb, 0, 1 << 20, "memory for decoded images, MB");
  list.boolean("balanced", d.balanced, "batches with equally many images of each class");
  list.boolean("flip", d.flip, "mirror training images at random");
  list.boolean("turn", d.turn, "turn training images by right angles");
  list.number("zoom", d.zoom, 0, 0.9, "scale training images by 1 +- zoom");
  list.number("shift", d.shift, 0, 0.5, "move training images by this share of the side");
  list.number("warp_fraction", d.warp_fraction, 0, 1,
              "share of training images that are scaled and moved; the others stay sharp");
  list.number("gain", d.gain, 0, 0.9, "multiply brightness by 1 +- gain");
  list.number("offset", d.offset, 0, 0.5, "add up to +- offset to the brightness, [0,1] units");
  list.number("tint", d.tint, 0, 0.5,
              "multiply each colour by 1 +- tint, as other lamps would; gray images stay gray");
  list.number("workers", d.workers, 0, 64, "loader threads; 0 loads in the training thread");
}

void train_fields(FieldList& list, TrainConfig& t) {
  list.section("train");
  list.number("steps", t.steps, 1, 1e9, "training steps after the discriminator's warm-up");
  list.number("discriminator_warmup", t.discriminator_warmup, 0, 1e9,
              "steps of the discriminator alone, first");
  list.number("longest_warmup", t.longest_warmup, 0, 1e9,
              "steps of that warm-up at most, where it has learned nothing by then");
  list.number("discriminator_after", t.discriminator_after, 0, 1e9,
              "steps of the discriminator alone, last: against the finished generator");
  list.number("batch", t.batch, 2, 4096, "images per step");
  list.number("lr_generator", t.lr_generator, 1e-9, 1, "learning rate of the generator");
  list.number("lr_discriminator", t.lr_discriminator, 1e-9, 1,
              "learning rate of the discriminator in the joint steps");
  list.number("lr_classifier", t.lr_classifier, 1e-9, 1,
              "learning rate of the discriminator's warm-up and of the classifier");
  list.number("beta1", t.beta1, 0, 0.9999, "Adam's first moment");
  list.number("beta2", t.beta2, 0, 0.99999, "Adam's second moment");
  list.number("weight_decay", t.weight_decay, 0, 1, "decoupled weight decay");
  list.number("lr_warmup", t.lr_warmup, 0, 1e6, "steps of linear learning-rate warm-up");
  list.number("lr_decay", t.lr_decay, 0, 1, "last share of the steps, with linear decay to 0");
  list.number("ramp", t.ramp, 0, 1, "first share of the steps, over which penalties grow");
  list.number("robust_ramp", t.robust_ramp, 0, 1,
              "first share of all steps, over which robust_eps grows");
  list.number("identity_fraction", t.identity_fraction, 0, 0.95,
              "share of targets equal to the image's own class");
  list.number("ema_decay", t.ema_decay, 0, 0.99999, "averaging of all networks' weights");
  list.number("validate_every", t.validate_every, 1, 1e9, "steps between validations");
  list.number("validation_images", t.validation_images, 0, 1e9,
              "validate on so many images, spread over the split; 0: on all");
  list.number("patience", t.patience, 0, 1e6,
              "stop after so many validations without a better score; 0: never");
  list.number("checkpoint_every", t.checkpoint_every, 1, 1e9, "steps between checkpoints");
  list.number("seed", t.seed, 0, 9e18, "seed of everything random");
  list.number("threads", t.threads, 0, 1024,
              "processor threads; 0: OMP_NUM_THREADS, else all that are available");
  list.number("coverage", t.coverage, 0.01, 1,
              "share of the validation images whose answers count as certain");
  list.choice("precision", t.precision, precision_names(),
              "of convolutions while training; auto: bfloat16 where the processor or GPU has it");
  list.choice("device", t.device, device_names(),
              "what trains: cpu, cuda (a GPU), or auto: the GPU where there is one");
}

void explain_fields(FieldList& list, ExplainConfig& e) {
  list.section("explain");
  list.boolean(
      "average_views", e.average_views,
      "average over the mirrored and turned views that training saw, also answers that are not "
      "sure: better masks, fewer errors, slower");
  list.boolean("one_pass", e.one_pass,
               "let the generator look once all the same: it has learned what all views give "
               "(flipside distill sets this)");
  list.boolean("second_pass", e.second_pass,
               "go over the marked change once more where the discriminator does not yet see the "
               "target class, and keep it where it then does");
  list.number(
      "furthest", e.furthest, 1.0, 3.0,
      "take a counterfactual of which the discriminator is not sure further along its own change, "
      "in steps of 0.2 up to so many times as far; 1: not");
  list.number(
      "edge_radius", e.edge_radius, 0, 64,
      "fit maps to the image's edges within so many pixels of size: masks more exact, though above "
      "1 (4, say, for images unlike those of the training) less sure to turn the answer by "
      "themselves; 0: not");
  list.choice(
      "generator_precision", e.generator_precision, precision_names(),
      "of the convolutions that make counterfactuals to show or measure, and of answers that "
      "are asked for again; as precision");
}

}  // namespace

const std::vector<std::pair<std::string, DeviceChoice>>& device_names() {
  static const std::vector<std::pair<std::string, DeviceChoice>> names{
      {"auto", DeviceChoice::kAuto}, {"cpu", DeviceChoice::kCpu}, {"cuda", DeviceChoice::kCuda}};
  return names;
}

const std::vector<std::pair<std::string, Precision>>& precision_names() {
  static const std::vector<std::pair<std::string, Precision>> names{
      {"auto", Precision::kAuto},
      {"float32", Precision::kFloat32},
      {"bfloat16", Precision::kBFloat16}};
  return names;
}

std::string Field::flag() const {
  std::string dashed = name;
  std::replace(dashed.begin(), dashed.end(), '_', '-');
  return "--" + dashed;
}

std::vector<Field> config_fields(Config& config) {
  FieldList list;
  model_fields(list, config.model);
  loss_fields(list, config.loss);
  data_fields(list, config.data);
  train_fields(list, config.train);
  explain_fields(list, config.explain);
  return list.take();
}

}  // namespace flipside
