#include "flipside/attack/fab.h"

#include <algorithm>

#include "flipside/core/numbers.h"

namespace flipside {
namespace {

constexpr double kMaxPull = 0.1;     // alpha_max: most that the original draws a step
constexpr double kOvershoot = 1.05;  // eta: steps go beyond the linearised boundary
constexpr double kBackward = 0.9;    // beta: share of the way that is kept after a win
constexpr int kFinalSearch = 3;      // secant steps on the segment to the original

/// The smallest t >= 0 with sum_i slope_i min(t, end_i) = value, per row; rows whose sum stays
/// below get the largest end. slope, end [N,D] >= 0; value [N] >= 0; float64.
Tensor solve_saturating_sum(const Tensor& slope, const Tensor& end, const Tensor& value) {
  const auto [ends, order] = end.sort(/*dim=*/1);
  const Tensor slopes = slope.gather(1, order);
  const Tensor saturated = (slopes * ends).cumsum(/*dim=*/1);
  const Tensor growing = slopes.sum(/*dim=*/1, /*keepdim=*/true) - slopes.cumsum(/*dim=*/1);
  const Tensor sums = saturated + ends * growing;  // at t = ends
  const Tensor place = torch::searchsorted(sums.contiguous(), value.unsqueeze(1).contiguous());
  const Tensor inside = place.clamp_max(ends.size(1) - 1);
  const auto at = [&](const Tensor& table) { return table.gather(1, inside); };
  // Before its place the sum is linear with the slope that grows there.
  const Tensor rate = at(growing) + at(slopes);
  const Tensor t = at(ends) - (at(sums) - value.unsqueeze(1)) / rate.clamp_min(1e-300);
  return torch::where(place < ends.size(1), t.clamp_min(0.0), ends.slice(1, -1)).squeeze(1);
}

/// Linearised boundary of the nearest wanted class, per image.
struct Boundary {
  Tensor values;   ///< [N] float64: wanted logit - best unwanted one
  Tensor weights;  ///< [N,D] float64: its gradient
};

/// The classes that some image's attacker wants.
std::vector<int64_t> wanted_classes(const Victim& victim, const Goal& goal) {
  std::vector<int64_t> classes;
  for (int64_t k = 0; k < victim.num_classes; ++k)
    if (!goal.targets.defined() || (goal.targets == k).any().item<bool>()) classes.push_back(k);
  return classes;
}

Boundary nearest_boundary(const Victim& victim, Norm norm, const Tensor& images, const Goal& goal) {
  const Tensor x = images.detach().requires_grad_(true);
  const Tensor logits = victim.logits(x);
  const Tensor host = logits.cpu();
  const int64_t n = images.size(0), values = images[0].numel();
  Boundary nearest;
  nearest.values = torch::full({n}, -1.0, torch::kDouble);
  nearest.weights = torch::zeros({n, values}, torch::kDouble);
  if (!host.requires_grad()) return nearest;
  Tensor distance = torch::full({n}, kInfinity, torch::kDouble);
  for (int64_t wanted : wanted_classes(victim, goal)) {
    const Tensor fits = goal.targets.defined() ? goal.targets == wanted : goal.labels != wanted;
    // As a goal of its own: class `wanted` against the best of those that do not count as a win.
    Tensor others = host.clone();
    if (goal.targets.defined()) {
      others = host.index_fill(1, torch::tensor({wanted}), -kInfinity);
    } else {
      const Tensor label = host.gather(1, goal.labels.unsqueeze(1));
      others = victim.rejects ? torch::cat({label, host.slice(1, victim.num_classes)}, 1) : label;
    }
    const Tensor gap = host.select(1, wanted) - others.amax(/*dim=*/1);
    const Tensor gradient = torch::autograd::grad({gap.sum()}, {x}, {}, /*retain_graph=*/true,
                                                  /*create_graph=*/false, /*allow_unused=*/true)[0];
    if (!gradient.defined()) continue;
    const Tensor weights = gradient.flatten(1).to(torch::kDouble);
    const Tensor size = norm == Norm::kLinf ? weights.abs().sum(1) : weights.norm(2, 1);
    const Tensor gap_value = gap.detach().to(torch::kDouble);
    const Tensor far = torch::where(fits & (size > 0), gap_value.abs() / size.clamp_min(1e-300),
                                    torch::full_like(size, kInfinity));
    const Tensor closer = far < distance;
    distance = torch::where(closer, far, distance);
    nearest.values = torch::where(closer, gap_value, nearest.values);
    nearest.weights = torch::where(closer.unsqueeze(1), weights, nearest.weights);
  }
  return nearest;
}

Tensor length(Norm norm, const Tensor& change) {
  return norm == Norm::kLinf ? change.abs().amax(/*dim=*/1) : change.norm(2, /*dim=*/1);
}

/// Beyond the linearised boundary, from here and from the original, weighted by how near each is.
Tensor biased_step(Norm norm, const Tensor& x, const Tensor& original, const Boundary& plane) {
  const Tensor at_original = plane.values + ((original - x) * plane.weights).sum(/*dim=*/1);
  const Tensor here = project_on_plane(norm, x, plane.weights, plane.values) - x;
  const Tensor there = project_on_plane(norm, original, plane.weights, at_original) - original;
  const Tensor near = length(norm, here);
  const Tensor pull =
      (near / (near + length(norm, there)).clamp_min(1e-300)).clamp_max(kMaxPull).unsqueeze(1);
  const Tensor step = (1 - pull) * (x + kOvershoot * here) + pull * (original + kOvershoot * there);
  return step.clamp(0.0, 1.0);
}

/// Shortens the way from the originals to winning images: points on the segment where the margin
/// would be zero if it were linear along it.
Tensor search_segment(const Victim& victim, Norm norm, const Tensor& images, const Goal& goal,
                      Tensor winning) {
  torch::NoGradGuard no_grad;
  Tensor losing = images;
  const auto margin = [&](const Tensor& x) {
    return attack_margin(victim, victim.logits(x).cpu(), goal).to(images.dtype());
  };
  Tensor high = margin(winning), low = margin(losing);
  for (int i = 0; i < kFinalSearch; ++i) {
    // A little to the winning side, since a zero margin is no win.
    const Tensor share = (-low / (high - low).clamp_min(1e-12)).clamp(0.0, 1.0);
    const Tensor x = losing + per_image(share + 0.01 * (1 - share)) * (winning - losing);
    const Tensor value = margin(x);
    const Tensor won = value > 0;
    winning = torch::where(per_image(won), x, winning);
    high = torch::where(won, value, high);
    losing = torch::where(per_image(won), losing, x);
    low = torch::where(won, low, value);
  }
  return winning;
}

}  // namespace

Tensor project_on_plane(Norm norm, const Tensor& points, const Tensor& weights,
                        const Tensor& values) {
  // Every coordinate moves to where the function comes nearer to zero, until it meets 0 or 1.
  const Tensor direction = -weights.sign() * values.sign().unsqueeze(1);
  const Tensor room =
      torch::where(direction > 0, 1.0 - points, points).clamp_min(0.0) * direction.abs();
  const Tensor size = weights.abs();
  if (norm == Norm::kLinf) {
    const Tensor t = solve_saturating_sum(size, room, values.abs());
    return points + direction * torch::min(t.unsqueeze(1), room);
  }
  // In L2 a coordinate moves in proportion to its weight.
  const Tensor end = torch::where(size > 0, room / size.clamp_min(1e-300), torch::zeros_like(room));
  const Tensor t = solve_saturating_sum(size.square(), end, values.abs());
  return points + direction * size * torch::min(t.unsqueeze(1), end);
}

Tensor nearest_adversarial(const Victim& victim, Norm norm, const Tensor& images, const Goal& goal,
                           std::vector<Rng>& streams, double reach, const FabOptions& options) {
  const Tensor original = images.flatten(1).to(torch::kDouble);
  const auto as_images = [&](const Tensor& points) {
    return points.view(images.sizes()).to(images.dtype());
  };
  Tensor best = images.clone();
  Tensor distance = torch::full({images.size(0)}, kInfinity, torch::kDouble);
  // Keeps winning points that are nearer than any before; gives where `points` win.
  const auto record = [&](const Tensor& points) {
    torch::NoGradGuard no_grad;
    const Tensor won = attack_margin(victim, victim.logits(as_images(points)).cpu(), goal) > 0;
    const Tensor far = length(norm, points - original);
    const Tensor closer = won & (far < distance);
    distance = torch::where(closer, far, distance);
    best = torch::where(per_image(closer), as_images(points), best);
    return won;
  };
  for (int64_t restart = 0; restart < options.restarts; ++restart) {
    Tensor x = original;
    if (restart > 0) {
      const Tensor start = ThreatModel{norm, 0.5 * reach}.random_start(images, streams);
      x = start.flatten(1).to(torch::kDouble);
      record(x);
    }
    for (int64_t step = 0; step < options.steps; ++step) {
      const Boundary plane = nearest_boundary(victim, norm, as_images(x), goal);
      const Tensor next = biased_step(norm, x, original, plane);
      const Tensor won = record(next).unsqueeze(1);
      x = torch::where(won, original + kBackward * (next - original), next);
    }
  }
  const Tensor rows = distance.isfinite().nonzero().flatten();
  if (rows.numel() == 0) return best;
  const Tensor shortened = search_segment(victim, norm, images.index_select(0, rows),
                                          goal.select(rows), best.index_select(0, rows));
  return best.index_copy(0, rows, shortened).detach();
}

Tensor fab(const Victim& victim, const ThreatModel& threat, const Tensor& images, const Goal& goal,
           std::vector<Rng>& streams, const FabOptions& options) {
  const Tensor found =
      nearest_adversarial(victim, threat.norm, images, goal, streams, threat.eps, options);
  return torch::where(per_image(threat.allows(found, images)), threat.project(found, images),
                      images);
}

}  // namespace flipside
