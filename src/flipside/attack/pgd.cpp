#include "flipside/attack/pgd.h"

namespace flipside {
namespace {

constexpr double kBeside = 1e-3;  // deviation of the start: at the images KL has no gradient

/// 2.5 eps / steps (Madry et al. 2018) for each image: [N].
Tensor usual_sizes(const ThreatModel& threat, int64_t steps, const Tensor& images) {
  return torch::ones({images.size(0)}, images.options()) * (threat.bound() * 2.5 / steps);
}

Tensor sizes_of(const PgdOptions& options, const ThreatModel& threat, const Tensor& images) {
  if (options.step_size > 0)
    return torch::full({images.size(0)}, options.step_size, images.options());
  return usual_sizes(threat, options.steps, images);
}

}  // namespace

Tensor fgsm(const Victim& victim, const ThreatModel& threat, const Tensor& images, const Goal& goal,
            AttackLoss loss) {
  const Tensor step = torch::full({images.size(0)}, threat.eps, images.options());
  const Slope slope = attack_slope(loss, victim, images, goal);
  return threat.project(threat.ascend(images, slope.gradient, step), images);
}

Tensor pgd_from(const Tensor& start, const Victim& victim, const ThreatModel& threat,
                const Tensor& images, const Goal& goal, const PgdOptions& options) {
  const Tensor sizes = sizes_of(options, threat, images);
  Tensor x = start;
  for (int64_t step = 0; step < options.steps; ++step) {
    const Slope slope = attack_slope(options.loss, victim, x, goal);
    x = threat.project(threat.ascend(x, slope.gradient, sizes), images);
  }
  return x.detach();
}

Tensor pgd(const Victim& victim, const ThreatModel& threat, const Tensor& images, const Goal& goal,
           std::vector<Rng>& streams, const PgdOptions& options) {
  // Drawn for every image, so that an image's draws do not depend on the others.
  const auto draw_start = [&] {
    return options.random_start ? threat.random_start(images, streams) : images;
  };
  if (!options.stop_when_won) return pgd_from(draw_start(), victim, threat, images, goal, options);
  Tensor result = images.clone();
  Tensor rows =
      torch::arange(images.size(0), images.options().dtype(torch::kInt64));  // not won against yet
  for (int64_t restart = 0; restart < options.restarts && rows.numel() > 0; ++restart) {
    Tensor x = draw_start().index_select(0, rows);
    for (int64_t step = 0; step <= options.steps && rows.numel() > 0; ++step) {
      const Tensor clean = images.index_select(0, rows);
      const Goal wish = goal.select(rows);
      Tensor logits, next;
      if (step == options.steps) {
        torch::NoGradGuard no_grad;
        logits = victim.logits(x).to(x.device());
      } else {
        const Slope slope = attack_slope(options.loss, victim, x, wish);
        const Tensor ahead = threat.ascend(x, slope.gradient, sizes_of(options, threat, x));
        next = threat.project(ahead, clean);
        logits = slope.logits;
      }
      result.index_copy_(0, rows, x);
      const Tensor won = attack_margin(victim, logits, wish) > 0;
      const Tensor open = won.logical_not().nonzero().flatten();
      rows = rows.index_select(0, open);
      if (next.defined()) x = next.index_select(0, open);
    }
  }
  return result.detach();
}

Tensor divergence(const Tensor& p_logits, const Tensor& q_logits) {
  const Tensor log_p = p_logits.log_softmax(/*dim=*/1), log_q = q_logits.log_softmax(/*dim=*/1);
  return (log_p.exp() * (log_p - log_q)).sum(/*dim=*/1);
}

Tensor divergence_attack(const Victim& victim, const ThreatModel& threat, const Tensor& images,
                         const Tensor& gaussian, int64_t steps) {
  Tensor clean;
  {
    torch::NoGradGuard no_grad;
    clean = victim.logits(images);
  }
  const Tensor sizes = usual_sizes(threat, steps, images);
  Tensor x = threat.project(images + kBeside * gaussian, images);
  for (int64_t step = 0; step < steps; ++step) {
    const Tensor at = x.detach().requires_grad_(true);
    const Tensor apart = divergence(clean, victim.logits(at)).sum();
    const Tensor gradient = torch::autograd::grad({apart}, {at})[0].nan_to_num(0.0);
    x = threat.project(threat.ascend(x, gradient, sizes), images);
  }
  return x.detach();
}

}  // namespace flipside
