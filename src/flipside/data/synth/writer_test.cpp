#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <set>

#include "flipside/core/error.h"
#include "flipside/core/file.h"
#include "flipside/data/dataset.h"
#include "flipside/data/image_io.h"
#include "flipside/data/synth/synth.h"
#include "support/temp_folder.h"

namespace flipside::synth::writer_test {
namespace {

using testing::HasSubstr;

SynthOptions options(const std::string& kind, int64_t count) {
  SynthOptions options;
  options.kind = kind;
  options.count = count;
  options.size = 32;
  options.seed = 7;
  return options;
}

/// Path below `root` -> content.
std::map<std::string, std::string> contents(const fs::path& root) {
  std::map<std::string, std::string> found;
  for (const auto& entry : fs::recursive_directory_iterator(root))
    if (entry.is_regular_file())
      found[fs::relative(entry.path(), root).string()] = read_file(entry.path());
  return found;
}

std::string usage_error(const fs::path& out, const SynthOptions& options) {
  return message_of(ErrorCode::kUsage, [&] { write_data_set(out, options); });
}

TEST(SynthWriter, LaysOutSplitsClassesMasksAndCounterfactuals) {
  const TempFolder folder;
  const fs::path out = folder / "deep" / "fruit";
  write_data_set(out, options("fruit", 80));
  std::map<std::string, int> files;
  for (const auto& [path, content] : contents(out)) ++files[fs::path(path).parent_path().string()];
  const std::map<std::string, int> expected{
      {"", 1},  // synth.json
      {"train/bad", 28},
      {"train/good", 28},
      {"train/masks/bad", 28},
      {"train/counterfactuals/bad", 28},
      {"val/bad", 6},
      {"val/good", 6},
      {"val/masks/bad", 6},
      {"val/counterfactuals/bad", 6},
      {"test/bad", 6},
      {"test/good", 6},
      {"test/masks/bad", 6},
      {"test/counterfactuals/bad", 6},
  };
  EXPECT_EQ(files, expected);
}

TEST(SynthWriter, SmallestSetHasBothClassesInEverySplit) {
  const TempFolder folder;
  write_data_set(folder / "out", options("cracks", 6));
  const ImageFolder found = scan_image_folder(folder / "out", DataConfig());
  EXPECT_THAT(found.class_names, testing::ElementsAre("crack", "intact"));
  EXPECT_EQ(found.reference_class, 1);
  for (Split split : {Split::kTrain, Split::kVal, Split::kTest}) {
    std::set<int64_t> labels;
    for (const ImageRecord& record : found.split(split)) labels.insert(record.label);
    EXPECT_EQ(labels.size(), 2u) << to_string(split);
    EXPECT_TRUE(found.has_masks(split));
  }
}

TEST(SynthWriter, FilesHoldTheScenes) {
  const TempFolder folder;
  write_data_set(folder / "out", options("cracks", 6));
  Rng rng({7, 0});
  const Scene scene = make_crack_scene(32, /*defect=*/true, rng);
  const fs::path train = folder / "out" / "train";
  const auto difference = [](const cv::Mat& a, const cv::Mat& b) {
    return cv::norm(a, b, cv::NORM_INF);
  };
  EXPECT_EQ(difference(read_image(train / "crack" / "00000.png"), scene.image), 0);
  EXPECT_EQ(difference(read_image(train / "counterfactuals" / "crack" / "00000.png"), scene.clean),
            0);
  EXPECT_EQ(difference(read_mask(train / "masks" / "crack" / "00000.png"), scene.mask), 0);
  Rng good_rng({7, 1});
  EXPECT_EQ(difference(read_image(train / "intact" / "00001.png"),
                       make_crack_scene(32, /*defect=*/false, good_rng).image),
            0);
}

TEST(SynthWriter, BytesDependOnSeedAndNotOnThreads) {
  const TempFolder folder;
  SynthOptions one = options("cracks", 20), four = one, other = one;
  one.threads = 1;
  four.threads = 4;
  other.seed = 8;
  write_data_set(folder / "one", one);
  write_data_set(folder / "four", four);
  write_data_set(folder / "other", other);
  EXPECT_EQ(contents(folder / "one"), contents(folder / "four"));
  EXPECT_NE(contents(folder / "one")["train/crack/00000.png"],
            contents(folder / "other")["train/crack/00000.png"]);
}

TEST(SynthWriter, ContinuesAfterAnInterruptionAndThenHasNothingToDo) {
  const TempFolder folder;
  const fs::path out = folder / "out";
  write_data_set(out, options("cracks", 20));
  const auto whole = contents(out);
  fs::remove(out / "train" / "crack" / "00000.png");
  fs::remove_all(out / "test");
  atomic_write(out / "val" / "crack" / "00002.png.tmp123", "half of it");
  const fs::path kept = out / "train" / "intact" / "00001.png";
  const auto kept_time = fs::last_write_time(kept);
  write_data_set(out, options("cracks", 20));
  EXPECT_EQ(contents(out), whole);
  EXPECT_EQ(fs::last_write_time(kept), kept_time);

  const fs::path last = out / "test" / "crack" / "00004.png";
  const auto last_time = fs::last_write_time(last);
  testing::internal::CaptureStderr();
  write_data_set(out, options("cracks", 20));
  EXPECT_THAT(testing::internal::GetCapturedStderr(), HasSubstr("nothing to do"));
  EXPECT_EQ(fs::last_write_time(last), last_time);
}

TEST(SynthWriter, RefusesBadOptions) {
  const TempFolder folder;
  const fs::path out = folder / "out";
  EXPECT_THAT(usage_error(out, options("bricks", 20)), HasSubstr("kind = bricks"));
  EXPECT_THAT(usage_error(out, options("cracks", 5)), HasSubstr("count = 5: must be from 6"));
  SynthOptions tiny = options("cracks", 20), huge = tiny;
  tiny.size = 31;
  huge.size = 5000;
  EXPECT_THAT(usage_error(out, tiny), HasSubstr("size = 31: must be from 32"));
  EXPECT_THAT(usage_error(out, huge), HasSubstr("size = 5000"));
  EXPECT_FALSE(fs::exists(out));
}

TEST(SynthWriter, LeavesFoldersWithOtherContentAlone) {
  const TempFolder folder;
  const fs::path other = folder / "other", begun = folder / "begun", file = folder / "file";
  atomic_write(other / "holiday.jpg", "not ours");
  EXPECT_THAT(usage_error(other, options("cracks", 20)), HasSubstr("is not empty"));
  EXPECT_EQ(contents(other).size(), 1u);

  write_data_set(begun, options("cracks", 6));
  const auto before = contents(begun);
  EXPECT_THAT(usage_error(begun, options("cracks", 8)), HasSubstr("another generated data set"));
  EXPECT_EQ(contents(begun), before);
  atomic_write(begun / "synth.json", "{");
  EXPECT_THAT(usage_error(begun, options("cracks", 6)), HasSubstr("unreadable options"));

  atomic_write(file, "x");
  EXPECT_THAT(usage_error(file, options("cracks", 20)), HasSubstr("is a file"));
}

TEST(SynthWriter, ReportsAFailureFromAnyThread) {
  const TempFolder folder;
  // A file stands where a folder is needed: no thread can write its scenes there.
  const fs::path out = folder / "out";
  write_data_set(out, options("cracks", 6));
  fs::remove_all(out / "test");
  atomic_write(out / "test", "in the way");
  SynthOptions again = options("cracks", 6);
  again.threads = 3;
  const auto write = [&] { write_data_set(out, again); };
  EXPECT_THAT(message_of(ErrorCode::kIo, write), HasSubstr((out / "test").string()));
}

}  // namespace
}  // namespace flipside::synth::writer_test
