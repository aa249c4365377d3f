#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <array>
#include <set>

namespace flipside::parallel_test {
namespace {

// libtorch's parallel loops are templates: compiled without OpenMP they quietly run in one thread.
TEST(ParallelFor, UsesEveryThread) {
  const int before = at::get_num_threads();
  at::set_num_threads(3);
  std::array<int, 3> ran_on{-1, -1, -1};
  at::parallel_for(0, 3, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) ran_on[i] = at::get_thread_num();
  });
  at::set_num_threads(before);
  EXPECT_EQ(std::set<int>(ran_on.begin(), ran_on.end()), (std::set<int>{0, 1, 2}));
}

}  // namespace
}  // namespace flipside::parallel_test
