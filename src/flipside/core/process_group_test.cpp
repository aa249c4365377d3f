#include "flipside/core/process_group.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <mutex>

#include "flipside/core/error.h"
#include "flipside/core/random.h"
#include "support/group.h"
#include "support/temp_folder.h"

namespace flipside::process_group_test {
namespace {

using ::testing::HasSubstr;

TEST(ProcessGroup, AloneNothingHappens) {
  const ProcessGroup group;
  EXPECT_TRUE(group.is_alone());
  EXPECT_TRUE(group.is_first());
  EXPECT_EQ(group.size(), 1);
  EXPECT_TRUE(group.shard().is_whole());
  Tensor x = torch::arange(3, torch::kFloat);
  group.sum({x});
  group.broadcast({x});
  group.start_sum(x)();
  EXPECT_TRUE(torch::equal(x, torch::arange(3, torch::kFloat)));
  EXPECT_EQ(group.sum(2.5), 2.5);
  EXPECT_EQ(group.from_first([] { return "here"; }), "here");
  EXPECT_TRUE(ProcessGroup(Launch{}).is_alone());
}

TEST(ProcessGroup, SumsEveryTypeAndLayoutAlikeInAllProcesses) {
  std::mutex mutex;
  std::vector<Tensor> noises;
  in_group(3, [&](const ProcessGroup& group) {
    const double rank = static_cast<double>(group.rank());
    const Tensor strided =
        torch::full({2, 3, 4, 4}, rank + 1, torch::kFloat).contiguous(kChannelsLast);
    const Tensor counts = torch::full({5}, group.rank(), torch::kInt64);
    const Tensor window = torch::zeros({4, 4}, torch::kDouble);
    window.slice(1, 1, 3).fill_(rank);
    group.sum({strided, counts, window.slice(1, 1, 3)});
    EXPECT_TRUE((strided == 6).all().item<bool>());
    EXPECT_TRUE(strided.is_contiguous(kChannelsLast));
    EXPECT_TRUE((counts == 3).all().item<bool>());
    EXPECT_EQ(window.sum().item<double>(), 8 * 3);
    EXPECT_EQ(group.sum(rank), 3);

    Rng rng(static_cast<uint64_t>(group.rank()));
    Tensor noise = torch::empty({1001});
    for (int64_t i = 0; i < noise.numel(); ++i) noise[i] = rng.normal();
    group.sum({noise});
    const std::lock_guard<std::mutex> lock(mutex);
    noises.push_back(noise);
  });
  ASSERT_EQ(noises.size(), 3u);
  EXPECT_TRUE(torch::equal(noises[0], noises[1]));
  EXPECT_TRUE(torch::equal(noises[0], noises[2]));
}

TEST(ProcessGroup, TheFirstProcessSpeaksForAll) {
  in_group(2, [](const ProcessGroup& group) {
    Tensor values = torch::full({3, 2}, group.rank() + 7, torch::kFloat).t();
    group.broadcast({values});
    EXPECT_TRUE((values == 7).all().item<bool>());
    EXPECT_EQ(group.from_first([&] { return "rank " + std::to_string(group.rank()); }), "rank 0");
    EXPECT_EQ(group.from_first([] { return ""; }), "");
    EXPECT_EQ(
        message_of(ErrorCode::kData,
                   [&] {
                     group.from_first([]() -> std::string { fail(ErrorCode::kData, "no images"); });
                   }),
        "no images");
    EXPECT_FALSE(group.broken());
  });
}

TEST(ProcessGroup, SharedWorkIsThatOfOneProcess) {
  const Tensor images = torch::arange(14, torch::kFloat).view({7, 2});
  const Tensor few = images.slice(0, 0, 2);
  std::atomic<int64_t> rows_done = 0;
  in_group(3, [&](const ProcessGroup& group) {
    const auto work = [&](const Tensor& own, const Tensor& rows) {
      rows_done += own.size(0);
      EXPECT_TRUE(torch::equal(own, images.index_select(0, rows)));
      return std::vector<Tensor>{own.square(), rows};
    };
    const auto results = group.in_shares(images, work);
    EXPECT_TRUE(torch::equal(results[0], images.square()));
    EXPECT_TRUE(torch::equal(results[1], torch::arange(7, torch::kInt64)));
    // With fewer images than processes one is idle.
    EXPECT_TRUE(torch::equal(group.in_shares(few, work)[0], few.square()));
  });
  EXPECT_EQ(rows_done, 7 + 3);
}

TEST(ProcessGroup, UnequalOptionsAreRefusedEverywhere) {
  std::atomic<int> refused = 0;
  in_group(3, [&](const ProcessGroup& group) {
    group.require_same("the data", "equal");
    const std::string text = group.rank() == 2 ? "other" : "equal";
    const std::string message =
        message_of(ErrorCode::kUsage, [&] { group.require_same("the data", text); });
    EXPECT_THAT(message, HasSubstr("the data of process 2 is not that of process 0"));
    ++refused;
  });
  EXPECT_EQ(refused, 3);
}

TEST(ProcessGroup, ALostProcessIsAnErrorOfTheOthers) {
  std::atomic<int> told = 0;
  in_group(3, [&](const ProcessGroup& group) {
    group.sum(1.0);
    if (group.rank() == 1) return;  // its connections end
    const std::string message = message_of(ErrorCode::kIo, [&] { group.sum(1.0); });
    EXPECT_THAT(message, HasSubstr("lost the connection to another process"));
    EXPECT_THAT(message, HasSubstr(fmt::format("process {} of 3", group.rank())));
    EXPECT_TRUE(group.broken());
    ++told;
  });
  EXPECT_EQ(told, 2);
}

TEST(ProcessGroup, OneThatDoesNotComeIsNamed) {
  Launch launch;
  launch.size = 2;
  launch.port = free_port();
  launch.timeout = 1;
  EXPECT_THAT(message_of(ErrorCode::kIo, [&] { ProcessGroup group(launch); }),
              HasSubstr("process 1 did not come within 1 s"));
}

}  // namespace
}  // namespace flipside::process_group_test
