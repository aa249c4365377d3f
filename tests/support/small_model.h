#pragma once

#include <string>
#include <vector>

#include "flipside/model/model.h"

namespace flipside {

/// An untrained model of small networks for images of `size` pixels.
inline Model small_model(std::vector<std::string> class_names, int64_t reference_class,
                         ModelKind kind = ModelKind::kCounterfactual, int64_t size = 16) {
  Config config;
  config.model.kind = kind;
  config.model.generator_widths = {8, 16};
  config.model.residual_blocks = 1;
  config.model.discriminator_widths = {8, 16};
  config.data.size = size;
  config.explain.average_views = false;  // what the networks say themselves
  config.explain.second_pass = false;
  config.explain.furthest = 1;
  config.explain.generator_precision = Precision::kFloat32;
  Model model = make_model(config, std::move(class_names), reference_class);
  model.eval();
  return model;
}

/// The same with weights far from the identity, so that its counterfactuals differ from the images.
inline Model lively_model(std::vector<std::string> class_names, int64_t reference_class,
                          int64_t size = 16) {
  torch::NoGradGuard no_grad;
  Model model =
      small_model(std::move(class_names), reference_class, ModelKind::kCounterfactual, size);
  torch::manual_seed(11);
  for (auto& parameter : model.generator->parameters())
    parameter.add_(0.3 * torch::randn(parameter.sizes()));
  for (auto& parameter : model.discriminator->parameters())
    parameter.add_(0.3 * torch::randn(parameter.sizes()));
  return model;
}

}  // namespace flipside
