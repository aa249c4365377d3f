#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "support/program.h"

namespace flipside {

/// Generated cracks for all tests of a file, and a model trained on them.
class TrainedProgram : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder_ = new TempFolder;
    ASSERT_EQ(run_program("synth cracks " + data() + " --count 40 --size 40 --seed 2").exit_code,
              0);
    const ProgramResult trained =
        run_program("train " + data() + " --out " + run() + kTinyTraining);
    ASSERT_EQ(trained.exit_code, 0) << trained.err;
    said_in_training_ = trained.err;
  }
  static void TearDownTestSuite() {
    delete folder_;
    folder_ = nullptr;
  }
  static std::string path(const std::string& name) { return (*folder_ / name).string(); }
  static std::string data() { return path("data"); }
  static std::string run() { return path("run"); }
  /// Trains a run whose generator changes images: in so few steps only where nothing holds it back.
  static void train_lively(const std::string& run) {
    const ProgramResult result =
        run_program("train " + data() + " --out " + run + kTinyTraining +
                    " --lr-generator 0.02 --lambda-prox 0 --lambda-sparse 0 --lambda-id 0");
    ASSERT_EQ(result.exit_code, 0) << result.err;
  }
  /// Expects this exit code and this text among the errors.
  static void expect_refused(const std::string& arguments, int exit_code, const std::string& text) {
    const ProgramResult result = run_program(arguments);
    EXPECT_EQ(result.exit_code, exit_code) << arguments << "\n" << result.err;
    EXPECT_THAT(result.err, ::testing::HasSubstr(text)) << arguments;
  }

  static inline TempFolder* folder_ = nullptr;
  static inline std::string said_in_training_;
};

}  // namespace flipside
