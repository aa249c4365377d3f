#include "flipside/explain/answer.h"

#include "flipside/core/error.h"
#include "flipside/explain/views.h"
#include "flipside/model/blocks.h"

namespace flipside {
namespace {

/// Module holders are shared pointers, and a forward pass changes no weight: a handle for calling.
Tensor discriminator_logits(const Model& model, const Tensor& x) {
  Discriminator discriminator = model.discriminator;
  return discriminator->forward(x);
}

/// The mean over these views, [N,K].
Tensor mean_probs(const Model& model, const Tensor& x, const std::vector<View>& views) {
  // Answers as maps of one pixel, which lie alike in every view.
  const Tensor mean = mean_over_views(views, x, [&](const Tensor& seen) {
    return class_probs(discriminator_logits(model, seen), model.num_classes())
        .unsqueeze(2)
        .unsqueeze(3);
  });
  return mean.flatten(/*start_dim=*/1);
}

/// The images of a batch that are asked for again, [M] int64, and their answers then, [M,K].
struct SecondAnswers {
  Tensor images, probs;
};

SecondAnswers ask_again(const Model& model, const Tensor& x, const Tensor& probs) {
  auto others = views_of(model.config, x.size(2) == x.size(3));
  others.erase(others.begin());  // the image as it lies has answered
  Tensor unsure = (probs.amax(/*dim=*/1) < kSure).nonzero().flatten();
  if (others.empty()) unsure = unsure.slice(0, 0, 0);
  const Tensor first = probs.index_select(0, unsure);
  if (unsure.size(0) == 0) return {unsure, first};
  const ActivationType type(model.config.explain.generator_precision, x.device());
  const Tensor rest = mean_probs(model, x.index_select(0, unsure), others);
  return {unsure, torch::lerp(rest, first, 1.0 / static_cast<double>(others.size() + 1))};
}

}  // namespace

Tensor network_images(const Model& model, const Tensor& images) {
  if (!model.discriminator)
    fail(ErrorCode::kArgument,
         "this model is a segmenter, which has no classes to ask for; give a classifier or a "
         "counterfactual model");
  const auto device = model.discriminator->parameters().front().device();
  return images.to(device, torch::kFloat32).contiguous(kChannelsLast);
}

Tensor view_probs(const Model& model, const Tensor& images) {
  const Tensor x = network_images(model, images);
  return mean_probs(model, x, views_of(model.config, x.size(2) == x.size(3)));
}

Tensor mean_logits(const Tensor& probs) {
  constexpr double kLeast = 1e-12;
  return probs.clamp_min(kLeast).log();
}

Tensor answer_probs(const Model& model, const Tensor& x, const Tensor& logits) {
  const Tensor probs = class_probs(logits, model.num_classes());
  const SecondAnswers again = ask_again(model, x, probs);
  return again.images.size(0) == 0 ? probs : probs.index_copy(0, again.images, again.probs);
}

Tensor answer_logits(const Model& model, const Tensor& x) {
  const Tensor logits = discriminator_logits(model, x);
  const SecondAnswers again = ask_again(model, x, class_probs(logits, model.num_classes()));
  return logits.slice(/*dim=*/1, 0, model.num_classes())
      .log_softmax(/*dim=*/1)
      .index_copy(0, again.images, mean_logits(again.probs));
}

Tensor real_class_probs(const Model& model, const Tensor& images) {
  const torch::NoGradGuard no_grad;
  const Tensor x = network_images(model, images);
  return answer_probs(model, x, discriminator_logits(model, x)).cpu();
}

NetworkAnswers ask(const Model& model, const Tensor& x) {
  NetworkAnswers answers;
  answers.logits = discriminator_logits(model, x);
  answers.probs = answer_probs(model, x, answers.logits);
  if (model.config.model.kind == ModelKind::kCounterfactual) {
    Generator generator = model.generator;
    answers.head_probs = generator->classify(x).softmax(/*dim=*/1);
  }
  return answers;
}

}  // namespace flipside
