#include "flipside/train/losses.h"

#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <vector>

namespace flipside {
namespace {

namespace F = torch::nn::functional;

/// A tenth of `n` pixels, rounded, at least one.
int64_t one_in_ten(int64_t n) { return std::max<int64_t>(1, (n + 5) / 10); }

/// `common_change` of one channel's n values. Nearly always they have no sign in common, and there
/// is nothing to sort.
template <typename Value>
Value common_of(const Value* values, int64_t n) {
  const int64_t few = one_in_ten(n);
  const auto above = std::count_if(values, values + n, [](Value value) { return value > 0; });
  const auto below = std::count_if(values, values + n, [](Value value) { return value < 0; });
  if (above <= n - few && below <= n - few) return 0;
  std::vector<Value> sorted(values, values + n);
  const auto found = sorted.begin() + (above > n - few ? few - 1 : n - few);
  std::nth_element(sorted.begin(), found, sorted.end());
  return *found;
}

/// The fake logit's loss when it is scored apart: `is_fake` is what it should say. The hinge and
/// least-squares targets are +1 for fake and -1 for real.
Tensor fake_logit_loss(const Tensor& fake_logit, bool is_fake, AdversarialLoss loss) {
  const double sign = is_fake ? 1.0 : -1.0;
  switch (loss) {
    case AdversarialLoss::kCrossEntropy:
      return torch::softplus(fake_logit * -sign).mean();
    case AdversarialLoss::kHinge:
      return torch::relu(1.0 - sign * fake_logit).mean();
    case AdversarialLoss::kLeastSquares:
      return (fake_logit - sign).square().mean();
  }
  TORCH_CHECK(false, "adversarial loss without a definition");
}

bool fake_is_a_class(const AdversarialForm& form) {
  return form.head == FakeHead::kSoftmax && form.loss == AdversarialLoss::kCrossEntropy;
}

Tensor fake_logit_of(const Tensor& logits) { return logits.select(1, logits.size(1) - 1); }

/// The generator's part of `fake_logit_loss`. The hinge form is linear (Lim and Ye 2017): it never
/// saturates.
Tensor realism_loss(const Tensor& fake_logit, AdversarialLoss loss) {
  return loss == AdversarialLoss::kHinge ? fake_logit.mean()
                                         : fake_logit_loss(fake_logit, /*is_fake=*/false, loss);
}

Tensor logit_of_class(const Tensor& logits, const Tensor& classes) {
  return logits.gather(/*dim=*/1, classes.unsqueeze(1)).squeeze(1);
}

}  // namespace

Tensor real_class_logits(const Tensor& logits) { return logits.slice(1, 0, logits.size(1) - 1); }

Tensor class_loss(const Tensor& logits, const Tensor& labels) {
  return F::cross_entropy(logits, labels);
}

Tensor real_loss(const Tensor& logits, const Tensor& labels, const AdversarialForm& form) {
  if (fake_is_a_class(form)) return class_loss(logits, labels);
  return class_loss(real_class_logits(logits), labels) +
         fake_logit_loss(fake_logit_of(logits), /*is_fake=*/false, form.loss);
}

Tensor fake_loss(const Tensor& logits, const Tensor& targets, const AdversarialForm& form) {
  if (fake_is_a_class(form))
    return class_loss(logits, torch::full_like(targets, logits.size(1) - 1));
  const Tensor fake = fake_logit_loss(fake_logit_of(logits), /*is_fake=*/true, form.loss);
  if (form.head == FakeHead::kSoftmax) return fake;
  return fake + class_loss(real_class_logits(logits), targets);
}

Tensor adversarial_loss(const Tensor& logits, const Tensor& targets, const AdversarialForm& form) {
  if (fake_is_a_class(form)) return class_loss(logits, targets);
  return realism_loss(fake_logit_of(logits), form.loss) +
         class_loss(real_class_logits(logits), targets);
}

Tensor critic_real_loss(const Tensor& logits, const Tensor& labels, AdversarialLoss loss) {
  return fake_logit_loss(logit_of_class(logits, labels), /*is_fake=*/false, loss);
}

Tensor critic_fake_loss(const Tensor& logits, const Tensor& targets, AdversarialLoss loss) {
  return fake_logit_loss(logit_of_class(logits, targets), /*is_fake=*/true, loss);
}

Tensor critic_adversarial_loss(const Tensor& logits, const Tensor& targets, AdversarialLoss loss) {
  return realism_loss(logit_of_class(logits, targets), loss);
}

Tensor mean_absolute_error(const Tensor& a, const Tensor& b) { return (a - b).abs().mean(); }

Tensor change_size(const Tensor& image, const Tensor& counterfactual) {
  return (counterfactual - image).abs().mean({1, 2, 3});
}

Tensor change_variation(const Tensor& image, const Tensor& counterfactual) {
  const Tensor change = counterfactual - image;
  return change.diff(1, /*dim=*/2).abs().mean({1, 2, 3}) +
         change.diff(1, /*dim=*/3).abs().mean({1, 2, 3});
}

Tensor common_change(const Tensor& change) {
  const Tensor pixels = change.detach().flatten(/*start_dim=*/2).contiguous();
  const int64_t n = pixels.size(2);
  Tensor common;
  if (pixels.is_cpu()) {
    common = torch::empty({pixels.size(0), pixels.size(1)}, pixels.options());
    AT_DISPATCH_FLOATING_TYPES(pixels.scalar_type(), "common_change", [&] {
      const auto* from = pixels.data_ptr<scalar_t>();
      auto* to = common.data_ptr<scalar_t>();
      at::parallel_for(0, common.numel(), /*grain_size=*/1, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) to[i] = common_of(from + i * n, n);
      });
    });
  } else {
    const int64_t few = one_in_ten(n);
    const Tensor low = std::get<0>(pixels.kthvalue(few, /*dim=*/2));
    const Tensor high = std::get<0>(pixels.kthvalue(n + 1 - few, /*dim=*/2));
    common = low.clamp_min(0) + high.clamp_max(0);
  }
  return common.unsqueeze(-1).unsqueeze(-1);
}

Tensor within_mask(const Tensor& image, const Tensor& counterfactual) {
  constexpr double kShare = 0.5, kSharpness = 4, kGrayLevel = 1.0 / 255;
  const Tensor whole = counterfactual - image, change = whole - common_change(whole);
  const Tensor saliency = change.abs().mean(/*dim=*/1, /*keepdim=*/true);
  const Tensor fixed = saliency.detach();
  const Tensor level = fixed.square().sum({1, 2, 3}, /*keepdim=*/true) /
                       fixed.sum({1, 2, 3}, /*keepdim=*/true).clamp_min(kGrayLevel);
  const Tensor tau = (kShare * level).clamp_min(kGrayLevel);
  return image + torch::sigmoid(kSharpness * (saliency / tau - 1)) * change;
}

Tensor segmentation_loss(const Tensor& logits, const Tensor& masks,
                         const std::function<Tensor(const Tensor&)>& total) {
  const Tensor known = masks.isfinite();
  const Tensor truth = masks.nan_to_num(0.0);
  const Tensor weight = known.to(logits.dtype());
  const Tensor entropy = F::binary_cross_entropy_with_logits(
      logits, truth, F::BinaryCrossEntropyWithLogitsFuncOptions().reduction(torch::kNone));
  const Tensor probability = logits.sigmoid() * weight;
  constexpr double kSmooth = 1.0;  // pixels; keeps Dice defined where no defect is in the batch
  Tensor sums = torch::stack({(entropy * weight).sum(), weight.sum(), (probability * truth).sum(),
                              probability.sum(), (truth * weight).sum()});
  if (total) sums = total(sums);
  const Tensor dice = (2.0 * sums[2] + kSmooth) / (sums[3] + sums[4] + kSmooth);
  return sums[0] / sums[1].clamp_min(1.0) + (1.0 - dice);
}

}  // namespace flipside
