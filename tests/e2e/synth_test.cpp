#include <gtest/gtest.h>
#include <sys/wait.h>

#include <cstdlib>
#include <string>

#include "support/temp_folder.h"

namespace flipside::synth_test {
namespace {

/// Exit code of `flipside synth` with these arguments.
int run_synth(const std::string& arguments) {
  const std::string command = std::string(FLIPSIDE_PROGRAM) + " synth " + arguments;
  const int status = std::system((command + " > /dev/null 2>&1").c_str());
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

TEST(SynthCommand, WritesWhatItIsAskedFor) {
  const TempFolder folder;
  const std::string out = (folder / "out").string();
  EXPECT_EQ(run_synth("fruit " + out + " --count 6 --size 32 --seed 3"), 0);
  EXPECT_EQ(read_image(folder / "out/train/bad/00000.png").size(), cv::Size(32, 32));
  EXPECT_TRUE(fs::exists(folder / "out/test/good/00005.png"));
  // The same again has nothing to do; something else does not fit there.
  EXPECT_EQ(run_synth("fruit " + out + " --count 6 --size 32 --seed 3"), 0);
  EXPECT_EQ(run_synth("fruit " + out + " --count 6 --size 32 --seed 4"), 2);
}

TEST(SynthCommand, EndsWithTwoForWhatItDoesNotKnow) {
  const TempFolder folder;
  const std::string out = (folder / "out").string();
  EXPECT_EQ(run_synth("cracks"), 2);
  EXPECT_EQ(run_synth("bricks " + out), 2);
  EXPECT_EQ(run_synth("cracks " + out + " --colour red"), 2);
  EXPECT_EQ(run_synth("cracks " + out + " --size 8"), 2);
  EXPECT_FALSE(fs::exists(out));
}

}  // namespace
}  // namespace flipside::synth_test
