#include "flipside/train/adam.h"

#include <ATen/Parallel.h>

#include <cmath>

#include "flipside/core/device.h"

namespace flipside {
namespace {

template <typename Scalars>
void update_range(const Scalars& s, float* p, const float* g, float* m, float* v, int64_t n) {
  for (int64_t i = 0; i < n; ++i) {
    m[i] = s.beta1 * m[i] + (1.0f - s.beta1) * g[i];
    v[i] = s.beta2 * v[i] + (1.0f - s.beta2) * g[i] * g[i];
    const float denominator = std::sqrt(v[i]) * s.root_correction + s.eps;
    p[i] = p[i] * s.decay - s.step_size * m[i] / denominator;
  }
}

bool can_run_fused(const Tensor& parameter, const Tensor& gradient) {
  return takes_fused_nodes(parameter.device()) && parameter.scalar_type() == torch::kFloat32 &&
         parameter.is_non_overlapping_and_dense() && gradient.strides() == parameter.strides();
}

}  // namespace

Adam::Adam(torch::nn::Module& module, const Options& options) : options_(options) {
  for (auto& item : module.named_parameters()) {
    slots_.push_back({item.key(), item.value(), torch::zeros_like(item.value().detach()),
                      torch::zeros_like(item.value().detach())});
  }
  changing_ = torch::zeros({3}, slots_.at(0).m.options().dtype(torch::kFloat32));
}

void Adam::prepare(double lr) {
  ++steps_;
  Scalars& s = scalars_;
  s.beta1 = static_cast<float>(options_.beta1);
  s.beta2 = static_cast<float>(options_.beta2);
  s.step_size = static_cast<float>(lr / (1.0 - std::pow(options_.beta1, steps_)));
  s.root_correction = static_cast<float>(1.0 / std::sqrt(1.0 - std::pow(options_.beta2, steps_)));
  s.eps = static_cast<float>(options_.eps);
  s.decay = static_cast<float>(1.0 - lr * options_.weight_decay);
  changing_.copy_(torch::tensor({s.step_size, s.root_correction, s.decay}), /*non_blocking=*/true);
}

void Adam::update_fused(const Scalars& s, Tensor& p, const Tensor& g, Tensor& m, Tensor& v) {
  constexpr int64_t kGrain = 1 << 15;  // elements; below it threads cost more than they give
  float *pp = p.data_ptr<float>(), *pm = m.data_ptr<float>(), *pv = v.data_ptr<float>();
  const float* pg = g.data_ptr<float>();
  at::parallel_for(0, p.numel(), kGrain, [&](int64_t begin, int64_t end) {
    update_range(s, pp + begin, pg + begin, pm + begin, pv + begin, end - begin);
  });
  p.unsafeGetTensorImpl()->bump_version();  // as libtorch's own operators do
}

void Adam::update_listed(at::TensorList p, at::TensorList g, at::TensorList m,
                         at::TensorList v) const {
  const Scalars& s = scalars_;
  at::_foreach_mul_(m, s.beta1);
  at::_foreach_add_(m, g, 1.0f - s.beta1);
  at::_foreach_mul_(v, s.beta2);
  at::_foreach_addcmul_(v, g, g, 1.0f - s.beta2);
  std::vector<Tensor> denominators = at::_foreach_sqrt(v);
  multiply_all(denominators, changing_[1]);
  at::_foreach_add_(denominators, s.eps);
  std::vector<Tensor> moves = at::_foreach_div(m, denominators);
  multiply_all(moves, changing_[0]);
  multiply_all(p, changing_[2]);
  at::_foreach_sub_(p, moves);
}

void Adam::step() {
  torch::NoGradGuard no_grad;
  std::vector<Tensor> p, g, m, v;  // of the parameters that take no pass of their own
  for (auto& slot : slots_) {
    const Tensor gradient = slot.parameter.grad();
    if (!gradient.defined()) continue;
    Tensor values = slot.parameter.detach();
    if (can_run_fused(values, gradient)) {
      update_fused(scalars_, values, gradient, slot.m, slot.v);
      continue;
    }
    p.push_back(values);
    g.push_back(gradient);
    m.push_back(slot.m);
    v.push_back(slot.v);
  }
  if (!p.empty()) update_listed(p, g, m, v);
}

void Adam::zero_grad() {
  for (auto& slot : slots_) slot.parameter.mutable_grad() = Tensor();
}

std::map<std::string, Tensor> Adam::state() const {
  std::map<std::string, Tensor> state{{"steps", torch::tensor(steps_, torch::kInt64)}};
  for (const auto& slot : slots_) {
    state[slot.name + ".m"] = slot.m;
    state[slot.name + ".v"] = slot.v;
  }
  return state;
}

void Adam::load_state(const std::map<std::string, Tensor>& state) {
  steps_ = state.at("steps").item<int64_t>();
  for (auto& slot : slots_) {
    for (auto [suffix, tensor] : {std::pair<const char*, Tensor>{".m", slot.m}, {".v", slot.v}}) {
      const auto found = state.find(slot.name + suffix);
      TORCH_CHECK(found != state.end(), "optimiser state lacks ", slot.name, suffix);
      TORCH_CHECK(found->second.sizes() == tensor.sizes(), "optimiser state ", slot.name, suffix,
                  " has another shape");
      tensor.copy_(found->second);
    }
  }
}

}  // namespace flipside
