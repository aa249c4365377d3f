#include "flipside/core/device.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <string>
#include <utility>
#include <vector>

#include "flipside/core/error.h"

namespace flipside::device_test {
namespace {

TEST(Device, AutoTakesTheGpuWhereThereIsOne) {
  EXPECT_TRUE(resolve_device(DeviceChoice::kCpu).is_cpu());
  EXPECT_EQ(resolve_device(DeviceChoice::kAuto).is_cuda(), has_cuda());
}

TEST(Device, CudaWithoutAGpuSaysWhatToDo) {
  if (has_cuda()) GTEST_SKIP() << "a GPU is there";
  try {
    resolve_device(DeviceChoice::kCuda);
    FAIL() << "nothing was thrown";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kUsage);
    EXPECT_THAT(error.what(), ::testing::HasSubstr("--device cpu"));
  }
}

TEST(Device, OmpNumThreadsIsTheDefaultOfThreads) {
  const char* const before = std::getenv("OMP_NUM_THREADS");
  const std::string kept = before ? before : "";
  for (const auto& [text, threads] : std::vector<std::pair<const char*, int>>{
           {"3", 3}, {"5,2", 5}, {"0", available_processors()}, {"many", available_processors()}}) {
    setenv("OMP_NUM_THREADS", text, /*overwrite=*/1);
    EXPECT_EQ(default_threads(), threads) << text;
  }
  unsetenv("OMP_NUM_THREADS");
  EXPECT_EQ(default_threads(), available_processors());
  if (before) setenv("OMP_NUM_THREADS", kept.c_str(), 1);
}

TEST(PlainOperators, HoldWhileTheyLiveAndNest) {
  EXPECT_TRUE(takes_fused_nodes(at::kCPU));
  EXPECT_FALSE(takes_fused_nodes(at::kCUDA));
  {
    const PlainOperators outer;
    { const PlainOperators inner; }
    EXPECT_FALSE(takes_fused_nodes(at::kCPU));
  }
  EXPECT_TRUE(takes_fused_nodes(at::kCPU));
}

}  // namespace
}  // namespace flipside::device_test
