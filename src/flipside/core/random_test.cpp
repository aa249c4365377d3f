#include "flipside/core/random.h"

#include <gtest/gtest.h>

#include <cmath>
#include <set>

namespace flipside::random_test {
namespace {

TEST(Rng, SameKeySameNumbers) {
  Rng a({1, 2, 3}), b({1, 2, 3}), other({1, 3, 2});
  for (int i = 0; i < 100; ++i) {
    const uint64_t value = a.next();
    EXPECT_EQ(value, b.next());
    EXPECT_NE(value, other.next());
  }
}

TEST(Rng, UniformAndNormalHaveTheirMoments) {
  Rng rng(7);
  const int n = 200000;
  double sum = 0, normal_sum = 0, normal_squares = 0;
  for (int i = 0; i < n; ++i) {
    const double u = rng.uniform();
    ASSERT_GE(u, 0.0);
    ASSERT_LT(u, 1.0);
    sum += u;
    const double g = rng.normal();
    normal_sum += g;
    normal_squares += g * g;
  }
  EXPECT_NEAR(sum / n, 0.5, 0.005);
  EXPECT_NEAR(normal_sum / n, 0.0, 0.01);
  EXPECT_NEAR(normal_squares / n, 1.0, 0.02);
}

TEST(Rng, BelowCoversItsRangeEvenly) {
  Rng rng(3);
  std::vector<int> counts(7);
  for (int i = 0; i < 70000; ++i) ++counts[rng.below(7)];
  for (int count : counts) EXPECT_NEAR(count, 10000, 500);
}

TEST(Rng, PermutationHoldsEveryIndexOnce) {
  Rng rng(5);
  const auto order = rng.permutation(100);
  EXPECT_EQ(std::set<int64_t>(order.begin(), order.end()).size(), 100u);
  EXPECT_NE(order, Rng(6).permutation(100));
}

}  // namespace
}  // namespace flipside::random_test
