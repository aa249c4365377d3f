#include "flipside/core/device.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "flipside/core/error.h"

namespace flipside {
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
}  // namespace flipside
