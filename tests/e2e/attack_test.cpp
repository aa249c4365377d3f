// Attack and uncertainty as a user takes them: the program, its files and its exit codes.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "support/program.h"

namespace flipside::attack_test {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;

class AttackProgram : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder_ = new TempFolder;
    ASSERT_EQ(run_program("synth cracks " + path("data") + " --count 40 --size 32").exit_code, 0);
    const ProgramResult trained =
        run_program("train " + path("data") + " --out " + path("run") + kTinyTraining);
    ASSERT_EQ(trained.exit_code, 0) << trained.err;
  }
  static void TearDownTestSuite() {
    delete folder_;
    folder_ = nullptr;
  }
  static std::string path(const std::string& name) { return (*folder_ / name).string(); }
  static std::string attack(const std::string& more) {
    return "attack " + path("run") + " " + path("data") +
           " --eps 2,8 --steps 4 --queries 8 --limit 6 " + more;
  }
  static TempFolder* folder_;
};
TempFolder* AttackProgram::folder_ = nullptr;

TEST_F(AttackProgram, PrintsAndWritesCurvesAndPictures) {
  for (const std::string on : {"discriminator", "head"}) {
    const std::string out = path("attack_" + on);
    const ProgramResult result = run_program(attack("--on " + on + " --out " + out));
    ASSERT_EQ(result.exit_code, 0) << result.err;
    EXPECT_THAT(result.out, HasSubstr("8/255 worst case"));
    EXPECT_THAT(read_file(fs::path(out) / (on + ".svg")), HasSubstr("worst case"));
    EXPECT_FALSE(read_image(fs::path(out) / (on + ".png")).empty());
    const json report = json::parse(read_file(fs::path(out) / "attack.json"));
    EXPECT_EQ(report.at("images"), 6);
    EXPECT_EQ(report.at("victims").size(), 1u);
  }
}

TEST_F(AttackProgram, GoesOnWithTheSameCommandAndRefusesAnother) {
  const std::string out = path("resumed");
  const ProgramResult first = run_program(attack("--json - --out " + out));
  ASSERT_EQ(first.exit_code, 0) << first.err;
  // As an interruption leaves it: the last stage is missing.
  const fs::path state = fs::path(out) / "state_discriminator.json";
  json stored = json::parse(read_file(state));
  stored["stages"].erase(stored["stages"].size() - 1);
  atomic_write(state, stored.dump());
  const ProgramResult second = run_program(attack("--json - --out " + out));
  EXPECT_EQ(second.out, first.out);
  const ProgramResult other = run_program(attack("--seed 9 --out " + out));
  EXPECT_EQ(other.exit_code, 2);
  EXPECT_THAT(other.err, HasSubstr("choose another --out"));
}

TEST_F(AttackProgram, ShardsArePutTogether) {
  const std::string out = path("shards");
  const ProgramResult whole = run_program(attack("--json -"));
  ASSERT_EQ(whole.exit_code, 0) << whole.err;
  ASSERT_EQ(run_program(attack("--shard 1/2 --out " + out)).exit_code, 0);
  const ProgramResult early = run_program(attack("--json - --out " + out));
  EXPECT_EQ(early.exit_code, 2);
  EXPECT_THAT(early.err, HasSubstr("2/2 is missing: run it with --shard 2/2"));
  const ProgramResult shard = run_program(attack("--shard 2/2 --out " + out));
  ASSERT_EQ(shard.exit_code, 0) << shard.err;
  EXPECT_EQ(shard.out, "");
  const ProgramResult merged = run_program(attack("--json - --out " + out));
  EXPECT_EQ(merged.exit_code, 0) << merged.err;
  EXPECT_EQ(merged.out, whole.out);
  EXPECT_TRUE(fs::exists(fs::path(out) / "attack.json"));
  const std::vector<std::string> refused{"--shard 1/2", "--shard 3/2 --out " + out,
                                         "--shard 1/7 --out " + path("many"),
                                         "--shard 1/2 --json - --out " + out};
  for (const auto& wrong : refused) EXPECT_EQ(run_program(attack(wrong)).exit_code, 2) << wrong;
}

TEST_F(AttackProgram, AsksTheRejectOptionTwice) {
  const ProgramResult result = run_program(attack("--on reject --norm l2 --json -"));
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const json report = json::parse(result.out);
  EXPECT_EQ(report.at("norm"), "l2");
  ASSERT_EQ(report.at("victims").size(), 2u);
  EXPECT_TRUE(report.at("victims")[1].at("scores")[0].contains("right_or_rejected"));
  EXPECT_TRUE(report.at("reject_threshold").is_number());
}

TEST_F(AttackProgram, AttacksTheAnswerAsItIsGiven) {
  const ProgramResult result = run_program(attack("--on answer --json -"));
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const json victims = json::parse(result.out).at("victims");
  ASSERT_EQ(victims.size(), 2u);
  EXPECT_EQ(victims[1].at("victim"), "answer, adaptive attacker");
  // Both are asked about the same images, which nobody has attacked yet.
  EXPECT_EQ(victims[0].at("scores")[0], victims[1].at("scores")[0]);
}

TEST_F(AttackProgram, EvaluateMeasuresUncertainty) {
  const std::string plot = path("risk.svg");
  const ProgramResult result =
      run_program("evaluate " + path("run") + " " + path("data") +
                  " --uncertainty --json - --plot " + plot + " --foreign " + path("data"));
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const json doubt = json::parse(result.out).at("uncertainty");
  EXPECT_GE(doubt.at("scores").size(), 9u);
  EXPECT_EQ(doubt.at("strange").size(), 10u);
  EXPECT_THAT(result.err, HasSubstr("uncertainty, attacked, views and head [######"));
  EXPECT_THAT(read_file(plot), HasSubstr("coverage"));
  EXPECT_EQ(run_program("evaluate " + path("run") + " " + path("data") + " --plot x").exit_code, 2);
}

TEST_F(AttackProgram, RefusesWhatTheModelLacks) {
  const ProgramResult trained = run_program("train " + path("data") + " --out " + path("judge") +
                                            " --model classifier" + kTinyTraining);
  ASSERT_EQ(trained.exit_code, 0) << trained.err;
  const std::string command = "attack " + path("judge") + " " + path("data");
  ASSERT_EQ(run_program("train " + path("data") + " --out " + path("upright") +
                        " --model classifier --no-flip --no-turn" + kTinyTraining)
                .exit_code,
            0);
  const ProgramResult upright =
      run_program("attack " + path("upright") + " " + path("data") + " --on answer");
  EXPECT_EQ(upright.exit_code, 2);
  EXPECT_THAT(upright.err, HasSubstr("--on answer: this model asks about an image as it lies"));
  EXPECT_EQ(run_program(command + " --on head").exit_code, 2);
  EXPECT_EQ(run_program(command + " --eps=-1").exit_code, 2);
  EXPECT_EQ(run_program(command + " --eps 4 --steps 2 --queries 2 --limit 2").exit_code, 0);
}

}  // namespace
}  // namespace flipside::attack_test
