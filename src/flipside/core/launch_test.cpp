#include "flipside/core/launch.h"

#include <gtest/gtest.h>

#include <map>

#include "flipside/core/error.h"

namespace flipside::launch_test {
namespace {

using Values = std::map<std::string, std::string>;

Launch launch_in(const Values& values) {
  return read_launch([&](const char* name) {
    const auto found = values.find(name);
    return found == values.end() ? nullptr : found->second.c_str();
  });
}

TEST(Launch, WithoutALauncherAProcessIsAlone) {
  EXPECT_EQ(launch_in({}).size, 1);
  EXPECT_EQ(launch_in({{"RANK", "1"}}).size, 1);
  EXPECT_EQ(launch_in({{"RANK", "0"}, {"WORLD_SIZE", "1"}}).size, 1);
  // A batch script of Slurm that starts no tasks of its own.
  EXPECT_EQ(launch_in({{"SLURM_PROCID", "0"}, {"SLURM_NTASKS", "8"}}).size, 1);
}

TEST(Launch, TorchrunsVariablesComeFirst) {
  const Launch launch = launch_in({{"RANK", "3"},
                                   {"WORLD_SIZE", "4"},
                                   {"LOCAL_RANK", "1"},
                                   {"LOCAL_WORLD_SIZE", "2"},
                                   {"MASTER_ADDR", "10.0.0.7"},
                                   {"MASTER_PORT", "1234"},
                                   {"TORCHELASTIC_USE_AGENT_STORE", "True"},
                                   {"TORCHELASTIC_RESTART_COUNT", "2"},
                                   {"OMPI_COMM_WORLD_RANK", "0"},
                                   {"OMPI_COMM_WORLD_SIZE", "9"}});
  EXPECT_EQ(launch.rank, 3);
  EXPECT_EQ(launch.size, 4);
  EXPECT_EQ(launch.local_rank, 1);
  EXPECT_EQ(launch.local_size, 2);
  EXPECT_EQ(launch.address, "10.0.0.7");
  EXPECT_EQ(launch.port, 1234);
  EXPECT_TRUE(launch.launcher_listens);
  EXPECT_EQ(launch.attempt, 2);
}

TEST(Launch, OpenMpiOnOneMachineNeedsNoAddress) {
  Values values{{"OMPI_COMM_WORLD_RANK", "1"},
                {"OMPI_COMM_WORLD_SIZE", "2"},
                {"OMPI_COMM_WORLD_LOCAL_RANK", "1"},
                {"OMPI_COMM_WORLD_LOCAL_SIZE", "2"}};
  const Launch launch = launch_in(values);
  EXPECT_EQ(launch.rank, 1);
  EXPECT_EQ(launch.address, "127.0.0.1");
  values["OMPI_COMM_WORLD_LOCAL_SIZE"] = "1";
  EXPECT_THROW(launch_in(values), Error);
  values["MASTER_ADDR"] = "node1";
  EXPECT_EQ(launch_in(values).address, "node1");
}

TEST(Launch, SlurmNamesItsFirstMachine) {
  const Launch launch = launch_in({{"SLURM_PROCID", "5"},
                                   {"SLURM_STEP_NUM_TASKS", "8"},
                                   {"SLURM_STEP_NUM_NODES", "2"},
                                   {"SLURM_LOCALID", "1"},
                                   {"SLURM_STEP_NODELIST", "gpu[03-04]"}});
  EXPECT_EQ(launch.rank, 5);
  EXPECT_EQ(launch.size, 8);
  EXPECT_EQ(launch.local_size, 4);
  EXPECT_EQ(launch.address, "gpu03");
  EXPECT_EQ(first_host("a1,b2"), "a1");
  EXPECT_EQ(first_host("a"), "a");
  EXPECT_EQ(first_host("n[7,9-12],m"), "n7");
}

TEST(Launch, WrongNumbersAreRefused) {
  EXPECT_THROW(launch_in({{"RANK", "2"}, {"WORLD_SIZE", "2"}}), Error);
  EXPECT_THROW(launch_in({{"RANK", "-1"}, {"WORLD_SIZE", "2"}}), Error);
  EXPECT_THROW(launch_in({{"RANK", "0"}, {"WORLD_SIZE", "two"}}), Error);
  try {
    launch_in(
        {{"RANK", "0"}, {"WORLD_SIZE", "2"}, {"LOCAL_WORLD_SIZE", "2"}, {"MASTER_PORT", "70000"}});
    FAIL() << "nothing was thrown";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kUsage);
    EXPECT_NE(std::string(error.what()).find("MASTER_PORT = 70000"), std::string::npos);
  }
}

}  // namespace
}  // namespace flipside::launch_test
