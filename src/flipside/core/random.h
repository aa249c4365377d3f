#pragma once

#include <cstdint>
#include <initializer_list>
#include <numeric>
#include <vector>

namespace flipside {

/// A small, fast random generator (xoshiro256**, Blackman and Vigna 2018) whose distributions are
/// written out here, so that the same seed gives the same numbers with every compiler.
class Rng {
 public:
  explicit Rng(uint64_t seed = 0) : Rng({seed}) {}
  /// A generator for a place in the work: (seed, epoch, index) -> independent stream. Work that is
  /// split over threads or resumed half-way so draws the same numbers.
  Rng(std::initializer_list<uint64_t> key);

  uint64_t next();
  /// Uniform in [0, 1).
  double uniform();
  /// Uniform in [low, high).
  double uniform(double low, double high) { return low + (high - low) * uniform(); }
  /// Uniform integer in [0, n), n > 0.
  int64_t below(int64_t n);
  /// Uniform integer in [low, high], both included.
  int64_t between(int64_t low, int64_t high) { return low + below(high - low + 1); }
  bool chance(double probability) { return uniform() < probability; }
  /// Gaussian by Box and Muller.
  double normal(double mean = 0.0, double deviation = 1.0);

  /// Fisher-Yates shuffle.
  template <typename T>
  void shuffle(std::vector<T>& values) {
    for (int64_t i = static_cast<int64_t>(values.size()) - 1; i > 0; --i)
      std::swap(values[i], values[below(i + 1)]);
  }
  /// The numbers 0..n-1 in random order.
  std::vector<int64_t> permutation(int64_t n) {
    std::vector<int64_t> order(n);
    std::iota(order.begin(), order.end(), 0);
    shuffle(order);
    return order;
  }

 private:
  uint64_t state_[4];
};

}  // namespace flipside
