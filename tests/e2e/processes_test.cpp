// Training in several processes, as launchers start them: real programs that meet over sockets.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <sstream>
#include <thread>

#include "flipside/model/model.h"
#include "support/group.h"
#include "support/program.h"

namespace flipside::processes_test {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;

// Of losses after 24 steps, by what float32 sums in another order make of them.
constexpr double kTolerance = 2e-3;

class Processes : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder_ = new TempFolder;
    ASSERT_EQ(
        run_program("synth cracks " + path("data") + " --count 40 --size 40 --seed 2").exit_code,
        0);
  }
  static void TearDownTestSuite() {
    delete folder_;
    folder_ = nullptr;
  }
  static std::string path(const std::string& name) { return (*folder_ / name).string(); }
  static std::string train(const std::string& run) {
    return "train " + path("data") + " --out " + path(run) + kTinyTraining;
  }
  /// Starts the program `count` times with the variables of torchrun, or of Open MPI's mpirun.
  static std::vector<std::unique_ptr<StartedProgram>> launch(const std::string& arguments,
                                                             int count, bool open_mpi = false) {
    const std::string port = std::to_string(free_port()), size = std::to_string(count);
    std::vector<std::unique_ptr<StartedProgram>> programs;
    for (int i = 0; i < count; ++i) {
      const std::string rank = std::to_string(i);
      const std::string variables =
          open_mpi
              ? "OMPI_COMM_WORLD_RANK=" + rank + " OMPI_COMM_WORLD_SIZE=" + size +
                    " OMPI_COMM_WORLD_LOCAL_RANK=" + rank + " OMPI_COMM_WORLD_LOCAL_SIZE=" + size
              : "RANK=" + rank + " WORLD_SIZE=" + size + " LOCAL_RANK=" + rank +
                    " LOCAL_WORLD_SIZE=" + size + " MASTER_ADDR=127.0.0.1";
      programs.push_back(std::make_unique<StartedProgram>(
          arguments, variables + " MASTER_PORT=" + port + " FLIPSIDE_TIMEOUT=120"));
    }
    return programs;
  }
  static void expect_success(std::vector<std::unique_ptr<StartedProgram>> programs) {
    for (auto& program : programs) {
      const ProgramResult result = program->wait();
      EXPECT_EQ(result.exit_code, 0) << result.err;
    }
  }
  /// Waits for a file, two minutes at most.
  static bool appears(const fs::path& file) {
    for (int i = 0; i < 24000 && !fs::exists(file); ++i)
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    return fs::exists(file);
  }
  static std::vector<json> log_of(const std::string& run) {
    std::vector<json> lines;
    std::istringstream text(read_file(*folder_ / run / "metrics.jsonl"));
    for (std::string line; std::getline(text, line);) lines.push_back(json::parse(line));
    return lines;
  }
  static void expect_equal_logs(const std::string& one, const std::string& other) {
    const auto a = log_of(one), b = log_of(other);
    ASSERT_EQ(a.size(), b.size());
    for (size_t i = 0; i < a.size(); ++i)
      for (const auto& [name, value] : a[i].items()) {
        if (!value.is_number_float() || name == "images_per_second") continue;
        ASSERT_TRUE(b[i].contains(name)) << b[i];
        EXPECT_NEAR(b[i][name].get<double>(), value.get<double>(),
                    kTolerance * (1 + std::abs(value.get<double>())))
            << name << " of line " << i << "\n"
            << a[i] << "\n"
            << b[i];
      }
  }

  static TempFolder* folder_;
};
TempFolder* Processes::folder_ = nullptr;

TEST_F(Processes, TwoTrainLikeOneAndOneOfThemWrites) {
  const ProgramResult alone = run_program(train("alone"));
  ASSERT_EQ(alone.exit_code, 0) << alone.err;
  auto programs = launch(train("two"), 2);
  const ProgramResult second = programs[1]->wait();
  EXPECT_EQ(second.exit_code, 0) << second.err;
  EXPECT_EQ(second.err, "");  // the first speaks for both
  const ProgramResult first = programs[0]->wait();
  EXPECT_EQ(first.exit_code, 0) << first.err;
  EXPECT_THAT(first.err, HasSubstr("2 processes share each batch"));
  expect_equal_logs("alone", "two");
  for (const char* name : {"best.safetensors", "last.safetensors", "config.toml", "run.json",
                           "samples/step_000032.png"})
    EXPECT_TRUE(fs::exists(*folder_ / "two" / name)) << name;
  // The launcher makes no difference to the weights.
  expect_success(launch(train("mpi"), 2, /*open_mpi=*/true));
  EXPECT_EQ(read_file(*folder_ / "two/last.safetensors"),
            read_file(*folder_ / "mpi/last.safetensors"));
}

TEST_F(Processes, AKilledOneEndsTheOthersAndTheRunResumes) {
  expect_success(launch(train("whole") + " --patience 0", 2));
  for (const int killed : {1, 0}) {
    const std::string run = "killed" + std::to_string(killed);
    auto programs = launch(train(run), 2);
    const fs::path last = *folder_ / run / "last.safetensors";
    ASSERT_TRUE(appears(last));
    programs[killed]->kill();
    const ProgramResult survivor = programs[1 - killed]->wait();
    EXPECT_EQ(survivor.exit_code, 1);
    EXPECT_THAT(survivor.err, HasSubstr("lost the connection to another process"));
    EXPECT_THAT(survivor.err, HasSubstr("flipside train --resume " + path(run)));
    const int64_t stored = load_checkpoint(last).extra.at("state.step").item<int64_t>();
    EXPECT_LT(stored, 32);
    // On with two, and on with one: the same training.
    expect_success(launch("train --resume " + path(run), killed == 1 ? 2 : 1));
    expect_equal_logs("whole", run);
  }
  EXPECT_EQ(read_file(*folder_ / "whole/last.safetensors"),
            read_file(*folder_ / "killed1/last.safetensors"));
}

TEST_F(Processes, ASignalToOneStopsAllAtACheckpoint) {
  auto programs = launch(train("stopped"), 2);
  const fs::path last = *folder_ / "stopped/last.safetensors";
  ASSERT_TRUE(appears(last));
  programs[1]->kill(SIGTERM);
  for (auto& program : programs) {
    const ProgramResult result = program->wait();
    EXPECT_EQ(result.exit_code, 1);
    EXPECT_THAT(result.err, HasSubstr("go on with: flipside train --resume"));
    const bool was_told = program == programs[1];
    EXPECT_EQ(result.err.find("once more to stop at once") != std::string::npos, was_told);
  }
}

TEST_F(Processes, WrongStartsAreRefusedByAll) {
  const auto expect_refused = [](std::vector<std::unique_ptr<StartedProgram>> programs,
                                 const std::string& text) {
    for (auto& program : programs) {
      const ProgramResult result = program->wait();
      EXPECT_EQ(result.exit_code, 2) << result.err;
      EXPECT_THAT(result.err, HasSubstr(text));
    }
  };
  expect_refused(launch("benchmark x.toml --out " + path("bench"), 2),
                 "start it without a launcher");
  make_folder(*folder_ / "there");
  expect_refused(launch(train("there"), 2), "is there already");
  expect_refused(launch("train --resume " + path("nothing"), 2), "is no run folder");
  expect_refused(launch(train("crowd"), 5), "train.batch = 4: 5 processes need an image each");
  EXPECT_FALSE(fs::exists(*folder_ / "crowd"));
  const std::string variables =
      "WORLD_SIZE=2 MASTER_ADDR=127.0.0.1 MASTER_PORT=" + std::to_string(free_port()) +
      " FLIPSIDE_TIMEOUT=120 RANK=";
  StartedProgram first(train("unequal"), variables + "0");
  StartedProgram second(train("unequal") + " --lambda-id 3", variables + "1");
  for (auto* program : {&first, &second}) {
    const ProgramResult result = program->wait();
    EXPECT_EQ(result.exit_code, 2);
    EXPECT_THAT(result.err, HasSubstr("the configuration of process 1 is not that of process 0"));
  }
}

}  // namespace
}  // namespace flipside::processes_test
