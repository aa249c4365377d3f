#include "flipside/train/warmup_control.h"

#include <algorithm>
#include <cmath>

#include "flipside/core/log.h"

namespace flipside {
namespace {

constexpr double kNothing = 0.9;    // of the loss of chance, and more: nothing was learned
constexpr double kSomething = 0.5;  // and less: enough for a generator to learn from
constexpr double kMeanOver = 50;    // steps
constexpr int64_t kShortest = 100;  // warm-up, in steps, that is judged by such a mean
constexpr double kSmallestFactor = .2;

}  // namespace

WarmupControl::WarmupControl(int64_t least, int64_t most, int64_t num_classes)
    : least_(least),
      most_(least < kShortest ? least : std::max(least, most)),
      steps_(least),
      chance_(std::log(static_cast<double>(num_classes))) {}

double WarmupControl::lr_factor(int64_t step) const {
  if (step < least_) return 1;
  return std::max(kSmallestFactor, static_cast<double>(least_) / static_cast<double>(step + 1));
}

void WarmupControl::observe(int64_t step, double loss) {
  mean_ = step == 1 ? loss : mean_ + (loss - mean_) / kMeanOver;
  if (step == least_ && most_ > least_ && mean_ > kNothing * chance_) {
    steps_ = most_;
    info(
        "the discriminator does not tell the classes yet: its warm-up goes on for {} steps at most",
        most_ - least_);
  } else if (goes_on() && step == most_) {
    warn(
        "after {} steps of warm-up the discriminator hardly tells the classes (loss {:.2f}, chance "
        "has {:.2f}): look at the labels, or try a larger --size, more images, or a smaller "
        "--lr-classifier with more --discriminator-warmup",
        step, mean_, chance_);
  } else if (goes_on() && step < steps_ && mean_ < kSomething * chance_) {
    steps_ = step;
    info("the discriminator tells the classes after {} steps of warm-up", step);
  }
}

TensorMap WarmupControl::state() const {
  return {{"warmup.loss", torch::tensor(mean_, torch::kFloat64)},
          {"warmup.steps", torch::tensor(steps_, torch::kInt64)}};
}

void WarmupControl::load_state(const TensorMap& state) {
  if (state.count("warmup.loss") == 0) return;
  mean_ = state.at("warmup.loss").item<double>();
  steps_ = state.at("warmup.steps").item<int64_t>();
}

}  // namespace flipside
