// What goes wrong for a user: bad input, a kill, a full disk; and that nothing is lost by it.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <thread>

#include "flipside/core/safetensors.h"
#include "support/trained_program.h"

namespace flipside::failures_test {
namespace {

using ::testing::HasSubstr;

using Failures = TrainedProgram;

TEST_F(Failures, OneBadImageIsReportedAndSkipped) {
  const fs::path images = path("mixed");
  fs::copy(data() + "/test/crack", images);
  atomic_write(images / "broken.png", "no image at all");
  const std::string out = path("mixed_out");
  expect_refused("explain " + run() + " " + images.string() + " --out " + out, 1, "broken.png");
  EXPECT_TRUE(fs::exists(fs::path(out) / "results.jsonl"));
}

/// Starts a training, kills it with SIGKILL once `file` has appeared and `delay` has passed.
void train_and_kill(const std::string& data, const std::string& run, int delay_ms) {
  const std::string command =
      "train " + data + " --out " + run + kTinyTraining + " --steps 200 --seed 5";
  const pid_t child = fork();
  if (child == 0) {
    freopen("/dev/null", "w", stderr);
    execl("/bin/sh", "sh", "-c", ("exec " + std::string(FLIPSIDE_PROGRAM) + " " + command).c_str(),
          static_cast<char*>(nullptr));
    _exit(127);
  }
  for (int i = 0; i < 1200 && !fs::exists(run + "/last.safetensors"); ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  std::this_thread::sleep_for(std::chrono::milliseconds(delay_ms));
  kill(child, SIGKILL);
  waitpid(child, nullptr, 0);
}

TEST_F(Failures, ResumeAfterKillEndsInTheWeightsOfAnUninterruptedRun) {
  const std::string whole = path("whole"), killed = path("killed");
  ASSERT_EQ(
      run_program("train " + data() + " --out " + whole + kTinyTraining + " --steps 200 --seed 5")
          .exit_code,
      0);
  train_and_kill(data(), killed, 150);
  const auto at_kill = read_safetensors(killed + "/last.safetensors");
  EXPECT_LT(at_kill.tensors.at("state.step").item<int64_t>(), 208) << "killed too late to tell";
  const ProgramResult resumed = run_program("train --resume " + killed);
  ASSERT_EQ(resumed.exit_code, 0) << resumed.err;
  const auto a = read_safetensors(whole + "/last.safetensors");
  const auto b = read_safetensors(killed + "/last.safetensors");
  ASSERT_EQ(a.tensors.size(), b.tensors.size());
  for (const auto& [name, tensor] : a.tensors)
    EXPECT_TRUE(torch::equal(tensor, b.tensors.at(name))) << name;
  EXPECT_THAT(run_program("train --resume " + killed).err, HasSubstr("finished already"));
}

TEST_F(Failures, TrainingStopsWhenPatienceIsOut) {
  const std::string run = path("patient");
  const ProgramResult trained =
      run_program("train " + data() + " --out " + run + kTinyTraining +
                  " --model classifier --lr-decay 0 --steps 5000 --validate-every 4 --patience 2");
  ASSERT_EQ(trained.exit_code, 0) << trained.err;
  EXPECT_THAT(trained.err, HasSubstr("no better score in 2 validations"));
  const auto last = read_safetensors(run + "/last.safetensors");
  EXPECT_LT(last.tensors.at("state.step").item<int64_t>(), 5000);
  EXPECT_THAT(run_program("train --resume " + run).err, HasSubstr("finished already"));
}

TEST_F(Failures, BadInputEndsWithAMessageAndAnExitCode) {
  const std::string out = " --out " + path("never");
  expect_refused("train " + path("missing") + out, 1, "missing");
  fs::create_directories(path("one/crack"));
  fs::copy(data() + "/test/crack", path("one/crack"));
  expect_refused("train " + path("one") + out, 1, "class");
  fs::create_directories(path("one/empty"));
  expect_refused("train " + path("one") + out, 1, "empty");
  expect_refused("train " + data() + out + " --lr-generator -1", 2,
                 "train.lr_generator = -1: must be");
  expect_refused("train " + data() + out + " --colour red", 2, "--colour");
  expect_refused("train " + data() + out + " --size 33 --config " + path("none.toml"), 2,
                 "none.toml");
  atomic_write(path("typo.toml"), "[train]\nstepz = 3\n");
  expect_refused("train " + data() + out + " --config " + path("typo.toml"), 2,
                 "did you mean train.steps?");
  expect_refused("train " + data() + " --out " + run(), 2, "--resume");
  expect_refused("train --resume " + path("missing"), 2, "run.json");
  expect_refused("train " + data() + out + kTinyTraining + " --identity-fraction 0.95", 2,
                 "train.identity_fraction");
  expect_refused("explain " + run() + " " + data() + " --target rust --out " + path("o"), 2,
                 "rust");
  expect_refused("explain " + path("missing") + " " + data() + " --out " + path("o"), 1, "missing");
  const std::string explain = "explain " + run() + " " + data() + " --out " + path("o");
  for (const char* option :
       {"--scale fit", "--window 32", "--mm-per-pixel 2", "--single-view", "--precision float32"})
    expect_refused(explain + " --method grad_cam " + option, 2, "is for counterfactuals");
  for (const std::string& option :
       {std::string("--layer 0"), std::string("--sign negative"), "--setting " + path("none.json")})
    expect_refused(explain + " " + option, 2, "another --method");
  expect_refused(explain + " --method grad_cam --layer 0 --setting " + path("none.json"), 2,
                 "leave one of them out");
  expect_refused("", 2, "--help");
  EXPECT_FALSE(fs::exists(path("never")));
}

TEST_F(Failures, DamagedCheckpointsAreRefused) {
  const std::string good = read_file(run() + "/best.safetensors");
  const auto refuse = [this](const std::string& name, const std::string& bytes) {
    atomic_write(path(name), bytes);
    expect_refused("evaluate " + path(name) + " " + data(), 1, name);
  };
  refuse("truncated.safetensors", good.substr(0, good.size() / 2));
  refuse("empty.safetensors", "");
  std::string flipped = good;
  flipped[good.size() - 100] ^= 4;
  refuse("flipped.safetensors", flipped);
}

TEST_F(Failures, FullDiskEndsWithAMessageAndLosesNothing) {
  // A limit on the size of files acts on a write as a full disk does.
  const std::string full = path("full");
  const std::string command = "(ulimit -f 8; trap '' XFSZ; exec " + std::string(FLIPSIDE_PROGRAM) +
                              " train " + data() + " --out " + full + kTinyTraining + ") 2> " +
                              path("full.err");
  const int status = std::system(command.c_str());
  EXPECT_EQ(WEXITSTATUS(status), 1);
  EXPECT_THAT(read_file(path("full.err")), HasSubstr("could not be written"));
  EXPECT_FALSE(fs::exists(full + "/last.safetensors"));
  const ProgramResult resumed = run_program("train --resume " + full);
  EXPECT_EQ(resumed.exit_code, 0) << resumed.err;
}

TEST_F(Failures, AFullDiskUnderResultsIsAnErrorAndUnderTheProgressIsNot) {
  const auto exit_code = [](const std::string& arguments, const std::string& streams) {
    const int status =
        std::system((std::string(FLIPSIDE_PROGRAM) + " " + arguments + " " + streams).c_str());
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  };
  const std::string evaluate = "evaluate " + run() + " " + data();
  EXPECT_EQ(exit_code(evaluate, "> /dev/full 2> /dev/null"), 1);
  EXPECT_EQ(exit_code(evaluate + " --json -", "> /dev/full 2> /dev/null"), 1);
  EXPECT_EQ(exit_code(evaluate, "> /dev/null 2> /dev/full"), 0);
  EXPECT_EQ(exit_code(evaluate, "> /dev/null 2>&-"), 0);
}

}  // namespace
}  // namespace flipside::failures_test
