#include "flipside/model/generator.h"

#include <gtest/gtest.h>

#include "flipside/core/error.h"
#include "flipside/model/model.h"
#include "support/gradcheck.h"

namespace flipside::generator_test {
namespace {

Config small_config(GeneratorOutput output = GeneratorOutput::kResidualAttention) {
  Config config;
  config.model.output = output;
  config.model.generator_widths = {8, 16, 24};
  config.model.residual_blocks = 1;
  config.model.discriminator_widths = {8, 16, 24};
  return config;
}

Model small_model(int64_t num_classes, GeneratorOutput output) {
  return make_model(small_config(output), std::vector<std::string>(num_classes, "a"), 0);
}

/// Moves every parameter away from its start, where FiLM and the last layer do next to nothing.
void shake(torch::nn::Module& module) {
  torch::NoGradGuard no_grad;
  for (auto& parameter : module.parameters())
    parameter.add_(torch::randn_like(parameter), 0.2 * (parameter.dim() == 4 ? 0.3 : 1.0));
}

const GeneratorOutput kOutputs[] = {GeneratorOutput::kResidualAttention, GeneratorOutput::kResidual,
                                    GeneratorOutput::kDirect};

TEST(Generator, GivesItsShapesForAllOutputsClassesAndSizes) {
  torch::manual_seed(1);
  torch::NoGradGuard no_grad;
  for (const auto output : kOutputs)
    for (const int64_t num_classes : {2, 5})
      for (const int64_t width : {16, 36}) {
        Generator generator = small_model(num_classes, output).generator;
        shake(*generator);
        const Tensor x = torch::rand({3, 3, 24, width});
        const Tensor target = torch::tensor({0, 1, int(num_classes) - 1}, torch::kLong);
        const auto result = generator(x, target);
        EXPECT_EQ(result.counterfactual.sizes(), x.sizes());
        EXPECT_GE(result.counterfactual.min().item<float>(), 0.f);
        EXPECT_LE(result.counterfactual.max().item<float>(), 1.f);
        EXPECT_TRUE(result.counterfactual.is_contiguous(kChannelsLast));
        EXPECT_EQ(result.class_logits.sizes(), (std::vector<int64_t>{3, num_classes}));
        EXPECT_EQ(result.attention.defined(), output == GeneratorOutput::kResidualAttention);
        if (result.attention.defined()) {
          EXPECT_EQ(result.attention.sizes(), (std::vector<int64_t>{3, 1, 24, width}));
        }
      }
}

TEST(Generator, UntrainedReturnsItsInput) {
  torch::manual_seed(2);
  torch::NoGradGuard no_grad;
  const Tensor x = torch::rand({2, 3, 32, 32});
  const Tensor target = torch::tensor({0, 1}, torch::kLong);
  const auto attention = make_model(Config{}, {"good", "bad"}, 0).generator(x, target);
  EXPECT_LT((attention.counterfactual - x).abs().max().item<float>(), 0.01f);
  EXPECT_NEAR(attention.attention.mean().item<float>(), 1 / (1 + std::exp(2.0)), 0.01);
  const auto plain = small_model(2, GeneratorOutput::kResidual).generator(x, target);
  EXPECT_LT((plain.counterfactual - x).abs().max().item<float>(), 0.05f);
}

TEST(Generator, LabelCannotLeakIntoTheHead) {
  torch::manual_seed(3);
  torch::NoGradGuard no_grad;
  Generator generator = small_model(5, GeneratorOutput::kResidualAttention).generator;
  shake(*generator);
  const Tensor x = torch::rand({5, 3, 16, 16});
  const Tensor zeros = torch::zeros({5}, torch::kLong), all = torch::arange(5);
  const auto first = generator(x, zeros), second = generator(x, all);
  EXPECT_TRUE(torch::equal(first.class_logits, second.class_logits));
  EXPECT_TRUE(torch::equal(first.class_logits, generator->classify(x)));
  // The target does reach the image, each in its own row.
  const Tensor difference = (first.counterfactual - second.counterfactual).abs().amax({1, 2, 3});
  EXPECT_EQ(difference[0].item<float>(), 0.f);
  EXPECT_GT(difference.narrow(0, 1, 4).min().item<float>(), 1e-4f);
}

TEST(Generator, GradientsAreRight) {
  for (const auto output : kOutputs) {
    torch::manual_seed(4);
    Generator generator = small_model(3, output).generator;
    shake(*generator);
    generator->to(torch::kDouble);
    // Far from 0 and 1, where the clamp has a corner; 0.05 keeps x + tanh(delta) inside.
    const Tensor target = torch::tensor({0, 2}, torch::kLong);
    std::vector<Tensor> inputs = generator->parameters();
    inputs.push_back((0.4 + 0.2 * torch::rand({2, 3, 8, 8}, torch::kDouble)).requires_grad_());
    expect_gradients(
        [&](const std::vector<Tensor>& in) {
          const auto result = generator(in.back(), target);
          return torch::cat(
              {result.counterfactual.reshape({-1}), result.class_logits.reshape({-1})});
        },
        inputs, 1e-5, 4, 1e-6);
  }
}

TEST(Generator, TargetsCountAsMuchWhereNoGradientIsAsked) {
  NormAct norm(16, kSlope, /*num_classes=*/3);
  torch::manual_seed(2);
  for (auto& parameter : norm->parameters()) parameter.set_data(torch::randn_like(parameter));
  const Tensor x = torch::randn({4, 16, 6, 5}).contiguous(kChannelsLast);
  const Tensor targets = torch::tensor(std::vector<int64_t>{2, 0, 1, 2});
  const Tensor with_gradient = norm(x, targets);
  const torch::NoGradGuard no_grad;
  EXPECT_TRUE(torch::allclose(norm(x, targets), with_gradient, 1e-5, 1e-5));
  // Every other number of a longer tensor.
  const Tensor strided = targets.repeat_interleave(2).slice(0, 0, 8, 2);
  EXPECT_TRUE(torch::equal(norm(x, strided), norm(x, targets)));
  for (const int64_t beyond : {-1, 3})
    EXPECT_THROW(norm(x, torch::full({4}, beyond, at::kLong)), c10::IndexError) << beyond;
}

TEST(Generator, RefusesSizesThatItCannotHalve) {
  Generator generator = small_model(2, GeneratorOutput::kDirect).generator;
  EXPECT_EQ(generator->stride(), 4);
  try {
    generator(torch::rand({1, 3, 18, 16}), torch::zeros({1}, torch::kLong));
    FAIL() << "accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kArgument);
    EXPECT_NE(std::string(error.what()).find("multiples of 4"), std::string::npos);
  }
}

int64_t count_parameters(const torch::nn::Module& module) {
  int64_t count = 0;
  for (const auto& parameter : module.parameters()) count += parameter.numel();
  return count;
}

TEST(Generator, HasTheParametersOfItsRecipe) {
  const int64_t k = 2;
  const auto block = [](int64_t in, int64_t out, int64_t kernel) {
    return in * out * kernel * kernel + 2 * out;
  };
  const auto film = [&](int64_t channels) { return k * 2 * channels; };
  int64_t expected = block(3, 16, 3) + block(16, 32, 4) + block(32, 64, 4) + block(64, 96, 4);
  expected += 2 * 2 * block(96, 96, 3);
  expected += 192 * k + k;
  expected += block(96, 96, 3) + film(96);
  for (const auto& [in, out] : {std::pair{96, 64}, std::pair{64, 32}, std::pair{32, 16}})
    expected += in * out + block(2 * out, out, 3) + film(out);
  expected += 16 * 4 * 9 + 4;
  EXPECT_EQ(count_parameters(*make_model(Config{}, {"good", "bad"}, 0).generator), expected);
}

TEST(Segmenter, GivesOneLogitPerPixel) {
  torch::manual_seed(5);
  Segmenter segmenter(small_config().model);
  segmenter->to(torch::kDouble);
  const Tensor x = torch::rand({2, 3, 8, 12}, torch::kDouble);
  EXPECT_EQ(segmenter(x).sizes(), (std::vector<int64_t>{2, 1, 8, 12}));
  expect_gradients([&](const std::vector<Tensor>&) { return segmenter(x); },
                   segmenter->parameters(), 1e-5, 4, 1e-6);
}

struct Answers {
  Tensor counterfactual, logits, gradients;
};

/// What the networks make of `x` where activations are of `type`, and the gradients of all weights.
Answers answers_in(at::ScalarType type, Model& model, const Tensor& x, const Tensor& target) {
  const ActivationType precision(type);
  const GeneratorResult made = model.generator->forward(x, target);
  const Tensor logits = model.discriminator->forward(made.counterfactual);
  EXPECT_EQ(made.counterfactual.scalar_type(), at::kFloat);
  EXPECT_EQ(logits.scalar_type(), at::kFloat);
  const Tensor loss = (made.counterfactual - x).square().mean() +
                      torch::cross_entropy_loss(logits, target) +
                      torch::cross_entropy_loss(made.class_logits, target);
  auto weights = model.generator->parameters();
  for (const auto& weight : model.discriminator->parameters()) weights.push_back(weight);
  std::vector<Tensor> flat;
  for (const auto& gradient : torch::autograd::grad({loss}, weights)) {
    EXPECT_EQ(gradient.scalar_type(), at::kFloat);
    flat.push_back(gradient.flatten());
  }
  return {made.counterfactual.detach(), logits.detach(), torch::cat(flat)};
}

TEST(Precision, BFloat16GivesNearlyTheSameAnswersAndGradients) {
  // Where rounding makes another pixel the greatest, its gradient goes elsewhere: in few networks
  // by much, so the mean over some is asked for.
  constexpr int kNetworks = 8;
  double cosines = 0;
  for (int seed = 8; seed < 8 + kNetworks; ++seed) {
    torch::manual_seed(seed);
    Model model = make_model(small_config(), {"a", "b"}, 0);
    shake(*model.generator);
    const Tensor x = torch::rand({4, 3, 24, 24}), target = torch::tensor({0, 1, 1, 0});
    const Answers exact = answers_in(at::kFloat, model, x, target);
    const Answers rounded = answers_in(at::kBFloat16, model, x, target);
    EXPECT_LT((exact.counterfactual - rounded.counterfactual).abs().max().item<double>(), 0.05);
    EXPECT_LT((exact.logits - rounded.logits).abs().max().item<double>(),
              0.05 * (1 + exact.logits.abs().max().item<double>()));
    cosines +=
        torch::cosine_similarity(exact.gradients, rounded.gradients, /*dim=*/0).item<double>();
    // And float32 again afterwards, bit for bit.
    EXPECT_TRUE(torch::equal(answers_in(at::kFloat, model, x, target).counterfactual,
                             exact.counterfactual));
  }
  EXPECT_GT(cosines / kNetworks, 0.99);
}

}  // namespace
}  // namespace flipside::generator_test
