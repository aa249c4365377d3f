#include "flipside/attack/pgd.h"

namespace flipside {
namespace {

constexpr double kBeside = 1e-3;  // deviation of the start: at the images KL has no gradient

Tensor beside(const Tensor& images, std::vector<Rng>& streams) {
  Tensor result =
      images.to(torch::kCPU, torch::kFloat32, /*non_blocking=*/false, /*copy=*/true).contiguous();
  float* data = result.data_ptr<float>();
  const int64_t values = result.numel() / result.size(0);
  for (Rng& stream : streams)
    for (int64_t i = 0; i < values; ++i) *data++ += static_cast<float>(stream.normal(0.0, kBeside));
  return result.to(images.options());
}

}  // namespace

Tensor fgsm(const Victim& victim, const ThreatModel& threat, const Tensor& images, const Goal& goal,
            AttackLoss loss) {
  const Tensor step = torch::full({images.size(0)}, threat.eps, images.options());
  const Slope slope = attack_slope(loss, victim, images, goal);
  return threat.project(threat.ascend(images, slope.gradient, step), images);
}

Tensor pgd(const Victim& victim, const ThreatModel& threat, const Tensor& images, const Goal& goal,
           std::vector<Rng>& streams, const PgdOptions& options) {
  const double step_size = options.step_size > 0
                               ? options.step_size
                               : 2.5 * threat.eps / static_cast<double>(options.steps);
  Tensor result = images.clone();
  Tensor rows =
      torch::arange(images.size(0), images.options().dtype(torch::kInt64));  // not won against yet
  for (int64_t restart = 0; restart < options.restarts && rows.numel() > 0; ++restart) {
    // Drawn for every image, so that an image's draws do not depend on the others.
    const Tensor start = options.random_start ? threat.random_start(images, streams) : images;
    Tensor x = start.index_select(0, rows);
    for (int64_t step = 0; step <= options.steps && rows.numel() > 0; ++step) {
      const bool last = step == options.steps;
      if (last && !options.stop_when_won) break;
      const Tensor clean = images.index_select(0, rows);
      const Goal wish = goal.select(rows);
      Tensor logits, next;
      if (last) {
        torch::NoGradGuard no_grad;
        logits = victim.logits(x).to(x.device());
      } else {
        const Slope slope = attack_slope(options.loss, victim, x, wish);
        const Tensor sizes = torch::full({x.size(0)}, step_size, x.options());
        next = threat.project(threat.ascend(x, slope.gradient, sizes), clean);
        logits = slope.logits;
      }
      if (options.stop_when_won) {
        result.index_copy_(0, rows, x);
        const Tensor won = attack_margin(victim, logits, wish) > 0;
        const Tensor open = won.logical_not().nonzero().flatten();
        rows = rows.index_select(0, open);
        if (!last) next = next.index_select(0, open);
      }
      if (!last) x = next;
    }
    if (!options.stop_when_won) result.index_copy_(0, rows, x);
  }
  return result.detach();
}

Tensor divergence(const Tensor& p_logits, const Tensor& q_logits) {
  const Tensor log_p = p_logits.log_softmax(/*dim=*/1), log_q = q_logits.log_softmax(/*dim=*/1);
  return (log_p.exp() * (log_p - log_q)).sum(/*dim=*/1);
}

Tensor divergence_attack(const Victim& victim, const ThreatModel& threat, const Tensor& images,
                         std::vector<Rng>& streams, int64_t steps) {
  Tensor clean;
  {
    torch::NoGradGuard no_grad;
    clean = victim.logits(images);
  }
  const Tensor sizes = torch::full({images.size(0)}, 2.5 * threat.eps / static_cast<double>(steps),
                                   images.options());
  Tensor x = threat.project(beside(images, streams), images);
  for (int64_t step = 0; step < steps; ++step) {
    const Tensor at = x.detach().requires_grad_(true);
    const Tensor apart = divergence(clean, victim.logits(at)).sum();
    const Tensor gradient = torch::autograd::grad({apart}, {at})[0].nan_to_num(0.0);
    x = threat.project(threat.ascend(x, gradient, sizes), images);
  }
  return x.detach();
}

}  // namespace flipside
