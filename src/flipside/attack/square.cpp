#include "flipside/attack/square.h"

#include <algorithm>
#include <cmath>

namespace flipside {
namespace {

/// A square window of an image.
struct Window {
  int64_t top, left, side;
  Tensor of(const Tensor& image) const {  ///< [...,H,W] -> view [...,side,side]
    return image.narrow(-2, top, side).narrow(-1, left, side);
  }
};

Window random_window(int64_t side, const Tensor& image, Rng& rng) {
  return {rng.below(image.size(-2) - side + 1), rng.below(image.size(-1) - side + 1), side};
}

double sign(Rng& rng) { return rng.chance(0.5) ? 1.0 : -1.0; }

/// The paper's hill eta^(h1,h2) [rows,columns], rows >= columns: sums of 1/k^2 that rise towards
/// the middle.
Tensor hill(int64_t rows, int64_t columns) {
  Tensor values = torch::zeros({rows, columns});
  auto at = values.accessor<float, 2>();
  const int64_t middle = rows / 2;
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t s = 0; s < columns; ++s) {
      const int64_t height = middle - std::max(std::abs(r - middle), std::abs(s - columns / 2));
      for (int64_t k = 0; k <= height; ++k)
        at[r][s] += static_cast<float>(1.0 / std::pow(static_cast<double>(middle + 1 - k), 2));
    }
  return values;
}

/// Two hills of opposite sign side by side, at random one above the other; of length 1.
Tensor hill_pair(int64_t side, Rng& rng) {
  const int64_t half = side / 2;
  const Tensor second = hill(side, side - half).neg();
  const Tensor pair = half > 0 ? torch::cat({hill(side, half), second}, /*dim=*/1) : second;
  return (rng.chance(0.5) ? pair.t() : pair) / pair.norm();
}

/// The first change [C,H,W]. L-inf: stripes of width 1, each +-eps. L2: hills on a grid of about
/// 5 x 5 tiles, of length eps in all.
Tensor first_change(const ThreatModel& threat, const Tensor& image, Rng& rng) {
  Tensor change = torch::zeros(image.sizes());
  const int64_t channels = image.size(0), height = image.size(1), width = image.size(2);
  if (threat.norm == Norm::kLinf) {
    for (int64_t c = 0; c < channels; ++c)
      for (int64_t x = 0; x < width; ++x) change[c].select(1, x).fill_(threat.eps * sign(rng));
    return change;
  }
  const int64_t tile = std::max<int64_t>(1, std::min(height, width) / 5);
  for (int64_t top = 0; top + tile <= height; top += tile)
    for (int64_t left = 0; left + tile <= width; left += tile)
      for (int64_t c = 0; c < channels; ++c) {
        const Tensor pair = hill_pair(tile, rng);
        Window{top, left, tile}.of(change[c]).add_(pair, sign(rng));
      }
  return change * (threat.eps / std::max(change.norm().item<double>(), 1e-12));
}

/// The paper's L2 proposal (algorithm 3): what one window holds, and what is left of eps, goes into
/// another one.
Tensor move_mass(const ThreatModel& threat, const Tensor& change, int64_t side, Rng& rng) {
  Tensor moved = change.clone();
  const Window first = random_window(side, change, rng), second = random_window(side, change, rng);
  const double used = change.square().sum().item<double>();
  const double unused = std::max(0.0, threat.eps * threat.eps - used);
  const auto channels = change.size(0);
  const Tensor pair = hill_pair(side, rng);
  for (int64_t c = 0; c < channels; ++c) {
    Tensor target = first.of(moved[c]), source = second.of(moved[c]);
    Tensor both = torch::zeros_like(moved[c]);
    first.of(both).copy_(target);
    second.of(both).copy_(source);
    const double available =
        std::sqrt(both.square().sum().item<double>() + unused / static_cast<double>(channels));
    const double old = target.norm().item<double>();
    Tensor fresh = pair * sign(rng);
    if (old > 0) fresh = fresh + target / old;
    fresh = fresh / fresh.norm().clamp_min(1e-12);
    source.zero_();
    target.copy_(fresh * available);
  }
  return moved;
}

/// The next change [C,H,W] to try, given the best one so far.
Tensor propose(const ThreatModel& threat, const Tensor& change, int64_t side, Rng& rng) {
  if (threat.norm == Norm::kL2) return move_mass(threat, change, side, rng);
  Tensor next = change.clone();
  const Window window = random_window(side, change, rng);
  for (int64_t c = 0; c < change.size(0); ++c) window.of(next[c]).fill_(threat.eps * sign(rng));
  return next;
}

}  // namespace

int64_t square_side(int64_t query, const SquareOptions& options, int64_t height, int64_t width) {
  const double place = 10000.0 * static_cast<double>(query) / static_cast<double>(options.queries);
  double share = options.first_share;
  for (double edge : {10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000})
    if (place > edge) share /= 2;
  const double side = std::sqrt(share * static_cast<double>(height * width));
  return std::clamp<int64_t>(std::llround(side), 1, std::min(height, width));
}

Tensor square(const Victim& victim, const ThreatModel& threat, const Tensor& images,
              const Goal& goal, std::vector<Rng>& streams, const SquareOptions& options) {
  torch::NoGradGuard no_grad;
  Tensor best = images.clone();
  Tensor margin = attack_margin(victim, victim.logits(best).cpu(), goal).to(images.dtype());
  Tensor rows = (margin > 0).logical_not().nonzero().flatten();
  for (int64_t query = 0; query < options.queries && rows.numel() > 0; ++query) {
    const int64_t side = square_side(query, options, images.size(2), images.size(3));
    const Tensor clean = images.index_select(0, rows), old = best.index_select(0, rows);
    std::vector<Tensor> changes;
    for (int64_t i = 0; i < rows.numel(); ++i) {
      Rng& rng = streams[rows[i].item<int64_t>()];
      changes.push_back(query == 0 ? first_change(threat, clean[i], rng)
                                   : propose(threat, old[i] - clean[i], side, rng));
    }
    const Tensor next = threat.project(clean + torch::stack(changes), clean);
    const Tensor value =
        attack_margin(victim, victim.logits(next).cpu(), goal.select(rows)).to(images.dtype());
    // The first change is where the search begins, better or not.
    const Tensor better =
        ((value > margin.index_select(0, rows)) | (query == 0)).nonzero().flatten();
    best.index_copy_(0, rows.index_select(0, better), next.index_select(0, better));
    margin.index_copy_(0, rows.index_select(0, better), value.index_select(0, better));
    rows = (margin > 0).logical_not().nonzero().flatten();
  }
  return best;
}

}  // namespace flipside
