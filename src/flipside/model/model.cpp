#include "flipside/model/model.h"

#include <ATen/CPUGeneratorImpl.h>
#include <fmt/ranges.h>
#include <cmath>

#include <algorithm>

#include "flipside/core/error.h"

namespace flipside {
namespace {

/// Seeds the generator that libtorch's layers draw their weights from, and puts its state back.
class SeedGuard {
 public:
  explicit SeedGuard(uint64_t seed) : generator_(at::detail::getDefaultCPUGenerator()) {
    std::lock_guard<std::mutex> lock(generator_.mutex());
    state_ = generator_.get_state();
    generator_.set_current_seed(seed);
  }
  ~SeedGuard() {
    std::lock_guard<std::mutex> lock(generator_.mutex());
    generator_.set_state(state_);
  }
  SeedGuard(const SeedGuard&) = delete;
  SeedGuard& operator=(const SeedGuard&) = delete;

 private:
  at::Generator generator_;
  Tensor state_;
};

/// `visit(prefix, network)` for each network that the model has.
template <typename AnyModel, typename Visit>
void for_each_network(AnyModel& model, Visit visit) {
  if (model.generator) visit("generator.", *model.generator);
  if (model.discriminator) visit("discriminator.", *model.discriminator);
  if (model.critic) visit("critic.", *model.critic);
  if (model.segmenter) visit("segmenter.", *model.segmenter);
}

}  // namespace

double Thresholds::label_free_of(int64_t label) const {
  if (by_class.empty() || std::isnan(by_class.at(label))) return label_free;
  return by_class[label];
}

void Model::train() {
  for_each_network(*this, [](const char*, torch::nn::Module& network) { network.train(); });
}

void Model::eval() {
  for_each_network(*this, [](const char*, torch::nn::Module& network) { network.eval(); });
}

void Model::freeze() {
  for_each_network(*this, [](const char*, torch::nn::Module& network) {
    for (auto& parameter : network.parameters()) parameter.set_requires_grad(false);
  });
}

void Model::to(at::Device device) {
  for_each_network(*this,
                   [device](const char*, torch::nn::Module& network) { network.to(device); });
}

at::Device Model::device() const {
  at::Device device = at::kCPU;
  for_each_network(*this, [&device](const char*, const torch::nn::Module& network) {
    device = network.parameters().front().device();
  });
  return device;
}

Model make_model(const Config& config, std::vector<std::string> class_names,
                 int64_t reference_class) {
  Model model;
  model.config = config;
  model.class_names = std::move(class_names);
  model.reference_class = reference_class;
  const int64_t num_classes = model.num_classes();
  if (num_classes < 2)
    fail(ErrorCode::kArgument, "{} classes: a model needs 2 or more", num_classes);
  if (reference_class < 0 || reference_class >= num_classes)
    fail(ErrorCode::kArgument, "reference class {}: must be from 0 to {}", reference_class,
         num_classes - 1);
  const SeedGuard seeded(config.train.seed);
  switch (config.model.kind) {
    case ModelKind::kCounterfactual:
      model.generator = Generator(config.model, num_classes);
      model.discriminator = Discriminator(config.model, num_classes + 1);
      if (config.model.critic == Critic::kSeparate)
        model.critic = Discriminator(config.model, num_classes);
      break;
    case ModelKind::kClassifier:
      model.discriminator = Discriminator(config.model, num_classes);
      break;
    case ModelKind::kSegmenter:
      model.segmenter = Segmenter(config.model);
      break;
  }
  return model;
}

Model copied(const Model& model) {
  Model copy = make_model(model.config, model.class_names, model.reference_class);
  copy.thresholds = model.thresholds;
  copy.doubt_rule = model.doubt_rule;
  copy.native_sides = model.native_sides;
  copy.to(model.device());
  torch::NoGradGuard no_grad;
  const TensorMap from = model_tensors(model);
  for (auto& [name, tensor] : model_tensors(copy)) tensor.copy_(from.at(name));
  return copy;
}

int64_t class_index(const Model& model, const std::string& name) {
  const auto& names = model.class_names;
  const auto found = std::find(names.begin(), names.end(), name);
  if (found == names.end())
    fail(ErrorCode::kUsage, "class \"{}\" does not exist; the model's classes are: {}", name,
         fmt::join(names, ", "));
  return found - names.begin();
}

TensorMap model_tensors(const Model& model) {
  TensorMap tensors;
  for_each_network(model, [&](const std::string& prefix, const torch::nn::Module& network) {
    for (const auto& item : network.named_parameters()) tensors[prefix + item.key()] = item.value();
    for (const auto& item : network.named_buffers()) tensors[prefix + item.key()] = item.value();
  });
  return tensors;
}

}  // namespace flipside
