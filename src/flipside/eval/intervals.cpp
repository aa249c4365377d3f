#include "flipside/eval/intervals.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "flipside/core/random.h"

namespace flipside {

Interval wilson_interval(int64_t hits, int64_t count) {
  constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
  if (count <= 0) return {kNaN, kNaN};
  constexpr double z = 1.959964;  // 97.5 % quantile of the normal distribution
  const auto n = static_cast<double>(count);
  const double p = static_cast<double>(hits) / n;
  const double middle = (p + z * z / (2 * n)) / (1 + z * z / n);
  const double half = z / (1 + z * z / n) * std::sqrt(p * (1 - p) / n + z * z / (4 * n * n));
  return {std::max(0.0, middle - half), std::min(1.0, middle + half)};
}

Interval bootstrap_interval(int64_t n,
                            const std::function<double(const std::vector<int64_t>&)>& score,
                            uint64_t seed, int64_t draws) {
  constexpr uint64_t kBootstrapTag = 0x626f6f74;
  std::vector<double> scores;
  std::vector<int64_t> rows(static_cast<size_t>(n));
  for (int64_t draw = 0; draw < draws && n > 0; ++draw) {
    Rng rng({seed, kBootstrapTag, static_cast<uint64_t>(draw)});
    for (int64_t& row : rows) row = rng.below(n);
    const double value = score(rows);
    if (!std::isnan(value)) scores.push_back(value);
  }
  if (scores.empty())
    return {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::quiet_NaN()};
  std::sort(scores.begin(), scores.end());
  const auto at = [&](double share) {
    return scores[static_cast<size_t>(share * static_cast<double>(scores.size() - 1) + 0.5)];
  };
  return {at(0.025), at(0.975)};
}

}  // namespace flipside
