#include "flipside/data/effect_size.h"

#include <cmath>
#include <numeric>

namespace flipside {
namespace {

double squared_deviations(const std::vector<double>& values) {
  const double centre = mean(values);
  double sum = 0;
  for (double value : values) sum += (value - centre) * (value - centre);
  return sum;
}

}  // namespace

double mean(const std::vector<double>& values) {
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

double cohens_d(const std::vector<double>& a, const std::vector<double>& b) {
  const double difference = std::abs(mean(a) - mean(b));
  if (difference < 1e-9) return 0;  // means of equal values differ by rounding
  const auto freedom = static_cast<double>(a.size() + b.size() - 2);
  const double pooled = std::sqrt((squared_deviations(a) + squared_deviations(b)) / freedom);
  // Equal values leave rounding in the deviation, too.
  return pooled < 1e-9 ? INFINITY : difference / pooled;
}

}  // namespace flipside
