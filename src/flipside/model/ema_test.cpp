#include "flipside/model/ema.h"

#include <gtest/gtest.h>

#include "flipside/core/error.h"

namespace flipside::ema_test {
namespace {

void fill(torch::nn::Module& module, double value) {
  torch::NoGradGuard no_grad;
  for (auto& parameter : module.parameters()) parameter.fill_(value);
}

TEST(Ema, AveragesByHand) {
  torch::nn::Linear layer(2, 1), average(2, 1);
  fill(*layer, 1.0);
  Ema ema(*layer, 0.15);
  fill(*layer, 2.0);
  ema.update(*layer);  // decay 1/10
  double expected = 0.1 * 1.0 + 0.9 * 2.0;
  fill(*layer, 5.0);
  ema.update(*layer);  // decay min(0.15, 2/11)
  expected = 0.15 * expected + 0.85 * 5.0;
  ema.copy_to(*average);
  for (const auto& parameter : average->parameters())
    EXPECT_NEAR(parameter.mean().item<double>(), expected, 1e-6);
  EXPECT_EQ(ema.updates(), 2);
  EXPECT_NEAR(layer->bias.item<double>(), 5.0, 0) << "the module itself changed";
}

TEST(Ema, StateComesBackAndContinuesTheSame) {
  torch::manual_seed(1);
  torch::nn::Linear layer(3, 2);
  Ema ema(*layer, 0.9);
  fill(*layer, 0.5);
  ema.update(*layer);
  torch::nn::Linear other(3, 2);
  Ema resumed(*other, 0.9);
  resumed.load_state(ema.state());
  resumed.set_updates(ema.updates());
  ema.update(*layer);
  resumed.update(*layer);
  for (const auto& [name, tensor] : ema.state())
    EXPECT_TRUE(torch::equal(tensor, resumed.state().at(name))) << name;
}

TEST(Ema, RefusesTheStateOfAnotherModule) {
  torch::nn::Linear layer(3, 2), wider(4, 2);
  Ema ema(*layer, 0.9);
  EXPECT_THROW(ema.load_state(Ema(*wider, 0.9).state()), Error);
  auto renamed = ema.state();
  renamed["wight"] = renamed.at("weight");
  renamed.erase("weight");
  EXPECT_THROW(ema.load_state(renamed), Error);
  renamed.erase("wight");
  EXPECT_THROW(ema.load_state(renamed), Error);
}

}  // namespace
}  // namespace flipside::ema_test
