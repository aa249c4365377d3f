#include "flipside/attack/apgd.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace flipside {
namespace {

constexpr double kMomentum = 0.75;   // alpha of the paper
constexpr double kRiseShare = 0.75;  // rho: steps that must have raised the loss

/// One restart's state for the images still open; first dimension M throughout.
class Ascent {
 public:
  Ascent(const Victim& victim, const ThreatModel& threat, AttackLoss loss, const Tensor& images,
         const Goal& goal, const Tensor& start)
      : victim_(victim), threat_(threat), loss_kind_(loss), clean_(images), goal_(goal) {
    previous_ = x_ = best_ = start;
    slope_ = best_slope_ = attack_slope(loss, victim, x_, goal);
    step_ = torch::full({x_.size(0)}, 2 * threat.eps, x_.options());
    checkpoint_step_ = step_;
    checkpoint_loss_ = best_slope_.loss;
    rises_ = torch::zeros_like(step_);
  }

  void advance() {
    const Tensor z = threat_.project(threat_.ascend(x_, slope_.gradient, step_), clean_);
    const double alpha = first_ ? 1.0 : kMomentum;
    const Tensor moved = x_ + alpha * (z - x_) + (1 - alpha) * (x_ - previous_);
    first_ = false;
    previous_ = x_;
    x_ = threat_.project(moved, clean_);
    const Tensor old_loss = slope_.loss;
    slope_ = attack_slope(loss_kind_, victim_, x_, goal_);
    rises_ = rises_ + (slope_.loss > old_loss);
    take(slope_.loss > best_slope_.loss, x_, slope_, best_, best_slope_);
  }

  /// At a checkpoint, `steps` after the one before: halves the steps that do not get on.
  void reconsider(int64_t steps) {
    const Tensor few_rises = rises_ < kRiseShare * static_cast<double>(steps);
    const Tensor no_news = (step_ == checkpoint_step_) & (best_slope_.loss <= checkpoint_loss_);
    const Tensor halve = few_rises | no_news;
    checkpoint_step_ = step_;
    checkpoint_loss_ = best_slope_.loss;
    step_ = torch::where(halve, 0.5 * step_, step_);
    take(halve, best_, best_slope_, x_, slope_);
    rises_ = torch::zeros_like(rises_);
  }

  void keep(const Tensor& rows) {
    for (Tensor* tensor :
         {&clean_, &x_, &previous_, &best_, &step_, &checkpoint_step_, &checkpoint_loss_, &rises_,
          &slope_.logits, &slope_.loss, &slope_.gradient, &best_slope_.logits, &best_slope_.loss,
          &best_slope_.gradient})
      *tensor = tensor->index_select(0, rows);
    goal_ = goal_.select(rows);
  }

  const Tensor& x() const { return x_; }
  const Tensor& best() const { return best_; }
  const Tensor& best_loss() const { return best_slope_.loss; }
  Tensor won() const { return attack_margin(victim_, slope_.logits, goal_) > 0; }

 private:
  /// Where `chosen` [M], `from` replaces `to`.
  static void take(const Tensor& chosen, const Tensor& from, const Slope& from_slope, Tensor& to,
                   Slope& to_slope) {
    to = torch::where(per_image(chosen), from, to);
    to_slope.gradient = torch::where(per_image(chosen), from_slope.gradient, to_slope.gradient);
    to_slope.loss = torch::where(chosen, from_slope.loss, to_slope.loss);
    to_slope.logits = torch::where(chosen.unsqueeze(1), from_slope.logits, to_slope.logits);
  }

  const Victim& victim_;
  const ThreatModel& threat_;
  AttackLoss loss_kind_;
  Tensor clean_;
  Goal goal_;
  Tensor x_, previous_, best_, step_, checkpoint_step_, checkpoint_loss_, rises_;
  Slope slope_, best_slope_;
  bool first_ = true;
};

}  // namespace

std::vector<int64_t> apgd_checkpoints(int64_t steps) {
  std::vector<int64_t> checkpoints;
  double before = 0, p = 0.22;
  for (;;) {
    // 1e-9: 0.22 * 100 must not become 23 by rounding.
    const auto at = static_cast<int64_t>(std::ceil(p * static_cast<double>(steps) - 1e-9));
    if (at >= steps) return checkpoints;
    if (checkpoints.empty() || at > checkpoints.back()) checkpoints.push_back(at);
    const double next = p + std::max(p - before - 0.03, 0.06);
    before = p;
    p = next;
  }
}

Tensor apgd(const Victim& victim, const ThreatModel& threat, const Tensor& images, const Goal& goal,
            std::vector<Rng>& streams, const ApgdOptions& options) {
  const std::vector<int64_t> checkpoints = apgd_checkpoints(options.steps);
  Tensor result = images.clone();
  Tensor highest =
      torch::full({images.size(0)}, -std::numeric_limits<double>::infinity(), images.options());
  Tensor rows = torch::arange(images.size(0), torch::kInt64);  // not won against yet
  for (int64_t restart = 0; restart < options.restarts && rows.numel() > 0; ++restart) {
    const Tensor start = threat.random_start(images, streams).index_select(0, rows);
    Ascent ascent(victim, threat, options.loss, images.index_select(0, rows), goal.select(rows),
                  start);
    Tensor closed = torch::zeros({rows.numel()}, torch::kBool);  // won since the last clearing up
    const auto record_wins = [&] {
      if (!options.stop_when_won) return;
      const Tensor fresh = (ascent.won() & closed.logical_not()).nonzero().flatten();
      result.index_copy_(0, rows.index_select(0, fresh), ascent.x().index_select(0, fresh));
      closed.index_fill_(0, fresh, true);
    };
    const auto clear_up = [&] {
      const Tensor open = closed.logical_not().nonzero().flatten();
      rows = rows.index_select(0, open);
      ascent.keep(open);
      closed = torch::zeros({rows.numel()}, torch::kBool);
    };
    record_wins();
    clear_up();
    int64_t since = 0;
    for (int64_t step = 1; step <= options.steps && rows.numel() > 0; ++step) {
      ascent.advance();
      record_wins();
      ++since;
      if (!std::binary_search(checkpoints.begin(), checkpoints.end(), step)) continue;
      ascent.reconsider(since);
      since = 0;
      clear_up();
    }
    clear_up();
    const Tensor better = (ascent.best_loss() > highest.index_select(0, rows)).nonzero().flatten();
    const Tensor places = rows.index_select(0, better);
    result.index_copy_(0, places, ascent.best().index_select(0, better));
    highest.index_copy_(0, places, ascent.best_loss().index_select(0, better).to(highest.dtype()));
  }
  return result.detach();
}

}  // namespace flipside
