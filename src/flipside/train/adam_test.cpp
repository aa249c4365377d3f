#include "flipside/train/adam.h"

#include <gtest/gtest.h>

namespace flipside::adam_test {
namespace {

/// Two equal small networks, one stepped by ours and one by libtorch's AdamW.
TEST(Adam, AgreesWithLibtorch) {
  torch::manual_seed(3);
  torch::nn::Sequential ours(torch::nn::Conv2d(torch::nn::Conv2dOptions(3, 8, 3)),
                             torch::nn::Conv2d(torch::nn::Conv2dOptions(8, 4, 3)));
  auto theirs = std::dynamic_pointer_cast<torch::nn::SequentialImpl>(ours->clone());
  ours->to(torch::kFloat32);
  for (auto& parameter : ours->parameters())
    if (parameter.dim() == 4) parameter.set_data(parameter.contiguous(kChannelsLast));
  Adam adam(*ours, {0.5, 0.99, 1e-8, 0.01});
  torch::optim::AdamW reference(
      theirs->parameters(),
      torch::optim::AdamWOptions(1.0).betas({0.5, 0.99}).eps(1e-8).weight_decay(0.01));
  for (int i = 0; i < 12; ++i) {
    const double lr = 0.01 / (i + 1);
    const Tensor x = torch::randn({2, 3, 8, 8});
    adam.zero_grad();
    ours->forward(x).square().mean().backward();
    adam.step(lr);
    reference.zero_grad();
    theirs->forward(x).square().mean().backward();
    static_cast<torch::optim::AdamWOptions&>(reference.param_groups()[0].options()).lr(lr);
    reference.step();
  }
  const auto a = ours->parameters(), b = theirs->parameters();
  for (size_t i = 0; i < a.size(); ++i)
    EXPECT_TRUE(torch::allclose(a[i], b[i], /*rtol=*/1e-4, /*atol=*/1e-6)) << i;
}

TEST(Adam, StateRoundTripContinuesBitwise) {
  torch::manual_seed(4);
  torch::nn::Linear one(4, 3);
  auto other = std::dynamic_pointer_cast<torch::nn::LinearImpl>(one->clone());
  Adam first(*one, {}), second(*other, {});
  const Tensor x = torch::randn({5, 4});
  const auto step = [&x](torch::nn::LinearImpl& module, Adam& adam) {
    adam.zero_grad();
    module.forward(x).square().mean().backward();
    adam.step(0.01);
  };
  step(*one, first);
  step(*other, second);
  std::map<std::string, Tensor> saved;
  for (const auto& [name, tensor] : second.state()) saved[name] = tensor.clone();
  Adam third(*other, {});
  third.load_state(saved);
  step(*one, first);
  step(*other, third);
  EXPECT_TRUE(torch::equal(one->weight, other->weight));
  saved.erase("weight.m");
  EXPECT_THROW(third.load_state(saved), c10::Error);
}

// What was made of weights, and kept, must be known to be old.
TEST(Adam, RaisesTheVersionOfWhatItChanges) {
  torch::manual_seed(4);
  torch::nn::Linear module(4, 3);
  Adam adam(*module, {});
  module->forward(torch::randn({5, 4})).square().mean().backward();
  const auto before = module->weight._version();
  adam.step(0.01);
  EXPECT_GT(module->weight._version(), before);
}

}  // namespace
}  // namespace flipside::adam_test
