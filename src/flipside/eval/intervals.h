#pragma once

#include <cstdint>
#include <functional>
#include <vector>

namespace flipside {

/// An interval of 95 % confidence.
struct Interval {
  double low = 0, high = 0;
};

/// Wilson's score interval (1927) of a share: `hits` of `count`; NaN for a count of 0.
Interval wilson_interval(int64_t hits, int64_t count);

/// Percentile bootstrap (Efron 1979) of a score over n images: `score` takes n indices in [0,n)
/// drawn with replacement. Draws at which it is NaN are left out.
Interval bootstrap_interval(int64_t n,
                            const std::function<double(const std::vector<int64_t>&)>& score,
                            uint64_t seed = 1, int64_t draws = 1000);

}  // namespace flipside
