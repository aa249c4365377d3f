#include "flipside/train/gradient_sync.h"

#include <torch/csrc/autograd/utils/lambda_post_hook.h>
#include <torch/csrc/autograd/variable.h>

namespace flipside {

GradientSync::GradientSync(const std::vector<Tensor>& parameters, ProcessGroup group,
                           int64_t bucket_bytes)
    : group_(std::move(group)) {
  TORCH_CHECK(!group_.is_alone(), "one process has nothing to sum");
  // The last parameters of the forward pass are the first to get their gradients.
  for (auto it = parameters.rbegin(); it != parameters.rend(); ++it) {
    Slot slot;
    slot.parameter = *it;
    slot.accumulator = torch::autograd::impl::grad_accumulator(slot.parameter);
    slots_.push_back(std::move(slot));
  }
  make_buckets(bucket_bytes);
  for (size_t i = 0; i < slots_.size(); ++i)
    slots_[i].hook = slots_[i].accumulator->add_post_hook(
        std::make_unique<torch::autograd::utils::LambdaPostHook>(
            [this, i](const torch::autograd::variable_list& outputs,
                      const torch::autograd::variable_list&) {
              if (running_) arrive(i);
              return outputs;
            }));
}

GradientSync::~GradientSync() {
  for (auto& slot : slots_) slot.accumulator->del_post_hook(slot.hook);
}

void GradientSync::make_buckets(int64_t bucket_bytes) {
  for (size_t i = 0; i < slots_.size(); ++i) {
    const Tensor& parameter = slots_[i].parameter;
    const auto bytes = [&](const Bucket& b) { return b.numel * parameter.element_size(); };
    if (buckets_.empty() || bytes(buckets_.back()) >= bucket_bytes) buckets_.emplace_back();
    Bucket& bucket = buckets_.back();
    slots_[i].bucket = buckets_.size() - 1;
    slots_[i].offset = bucket.numel;
    bucket.slots.push_back(i);
    bucket.numel += parameter.numel();
  }
  for (auto& bucket : buckets_)
    bucket.flat = torch::empty({bucket.numel + static_cast<int64_t>(bucket.slots.size())},
                               slots_[bucket.slots[0]].parameter.options().requires_grad(false));
}

void GradientSync::backward(const Tensor& loss) {
  for (auto& slot : slots_) slot.arrived = false;
  for (auto& bucket : buckets_) bucket.missing = bucket.slots.size();
  next_bucket_ = 0;
  running_ = true;
  try {
    loss.backward();
  } catch (...) {
    running_ = false;
    throw;
  }
  running_ = false;
  send_rest();
  for (auto& bucket : buckets_) take(bucket);
}

Tensor GradientSync::place_of(const Slot& slot) const {
  // With the parameter's strides: those that a gradient comes with may depend on the number of
  // images, and so on the process, where a side has length 1.
  return buckets_[slot.bucket].flat.as_strided(slot.parameter.sizes(), slot.parameter.strides(),
                                               slot.offset);
}

void GradientSync::arrive(size_t index) {
  torch::NoGradGuard no_grad;
  Slot& slot = slots_[index];
  if (slot.arrived) return;
  slot.arrived = true;
  Bucket& bucket = buckets_[slot.bucket];
  Tensor& gradient = slot.parameter.mutable_grad();
  // From here on the gradient is its place in the bucket.
  const Tensor place = place_of(slot);
  place.copy_(gradient);
  gradient = place;
  --bucket.missing;
  send_complete();
}

void GradientSync::send_complete() {
  for (; next_bucket_ < buckets_.size() && buckets_[next_bucket_].missing == 0; ++next_bucket_) {
    Bucket& bucket = buckets_[next_bucket_];
    bucket.flat.narrow(0, bucket.numel, bucket.flat.numel() - bucket.numel).fill_(1);
    bucket.wait = group_.start_sum(bucket.flat);
  }
}

void GradientSync::send_rest() {
  torch::NoGradGuard no_grad;
  for (; next_bucket_ < buckets_.size(); ++next_bucket_) {
    Bucket& bucket = buckets_[next_bucket_];
    for (size_t i = 0; i < bucket.slots.size(); ++i) {
      const Slot& slot = slots_[bucket.slots[i]];
      bucket.flat[bucket.numel + static_cast<int64_t>(i)] = slot.arrived ? 1.0 : 0.0;
      if (!slot.arrived) bucket.flat.narrow(0, slot.offset, slot.parameter.numel()).zero_();
    }
    bucket.wait = group_.start_sum(bucket.flat);
  }
}

void GradientSync::take(Bucket& bucket) {
  bucket.wait();
  torch::NoGradGuard no_grad;
  for (size_t i = 0; i < bucket.slots.size(); ++i) {
    Slot& slot = slots_[bucket.slots[i]];
    if (slot.arrived) continue;
    const int64_t mark = bucket.numel + static_cast<int64_t>(i);
    if (bucket.flat[mark].item<double>() == 0) continue;
    slot.parameter.mutable_grad() = place_of(slot);
  }
}

}  // namespace flipside
