#include "flipside/data/dataset.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <set>

#include "flipside/data/class_names.h"
#include "support/temp_folder.h"

namespace flipside::dataset_test {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

// Scanning looks at names alone, so that empty files do.
void touch(const TempFolder& folder, const std::vector<std::string>& names) {
  for (const auto& name : names) folder.write(name, "");
}

void touch_many(const TempFolder& folder, const std::string& prefix, int count) {
  for (int i = 0; i < count; ++i) folder.write(prefix + fmt::format("{:03}.png", i), "");
}

ImageFolder scan(const TempFolder& folder, const DataConfig& config = {}) {
  return scan_image_folder(folder.path(), config);
}

std::string scan_message(const fs::path& root, const DataConfig& config = {}) {
  return message_of(ErrorCode::kData, [&] { scan_image_folder(root, config); });
}

/// Images of each class in a split.
std::vector<int64_t> counts(const ImageFolder& folder, Split split) {
  std::vector<int64_t> result(folder.class_names.size());
  for (const auto& record : folder.split(split)) ++result[record.label];
  return result;
}

std::vector<fs::path> images(const ImageFolder& folder, Split split) {
  std::vector<fs::path> result;
  for (const auto& record : folder.split(split)) result.push_back(record.image);
  return result;
}

TEST(ScanImageFolder, SplitsClassFoldersByTheFractions) {
  const TempFolder folder;
  touch_many(folder, "bad/", 20);
  touch_many(folder, "good/", 100);
  DataConfig config;
  config.val_fraction = 0.15;
  config.test_fraction = 0.2;
  const ImageFolder scanned = scan(folder, config);
  EXPECT_FALSE(scanned.has_splits);
  EXPECT_THAT(scanned.class_names, ElementsAre("bad", "good"));
  EXPECT_THAT(counts(scanned, Split::kTest), ElementsAre(4, 20));
  EXPECT_THAT(counts(scanned, Split::kVal), ElementsAre(3, 15));
  EXPECT_THAT(counts(scanned, Split::kTrain), ElementsAre(13, 65));
  std::set<fs::path> all;
  for (Split split : {Split::kTrain, Split::kVal, Split::kTest}) {
    const auto paths = images(scanned, split);
    EXPECT_TRUE(std::is_sorted(paths.begin(), paths.end()));
    all.insert(paths.begin(), paths.end());
  }
  EXPECT_EQ(all.size(), 120u);
}

TEST(ScanImageFolder, SplitsAlikeForOneSeedAndOtherwiseForAnother) {
  const TempFolder folder;
  touch_many(folder, "bad/", 40);
  touch_many(folder, "good/", 40);
  const auto test_images = [&folder](uint64_t seed) {
    DataConfig config;
    config.split_seed = seed;
    return images(scan(folder, config), Split::kTest);
  };
  EXPECT_EQ(test_images(3), test_images(3));
  EXPECT_NE(test_images(3), test_images(4));
}

TEST(ScanImageFolder, AFileMoreOrLessMovesHardlyAnyOther) {
  const TempFolder folder;
  touch_many(folder, "good/", 60);
  const auto splits = [&folder] {
    std::map<fs::path, Split> found;
    const ImageFolder scanned = scan(folder);
    for (const Split split : kSplits)
      for (const auto& record : scanned.split(split)) found[record.image] = split;
    return found;
  };
  touch_many(folder, "bad/", 2);
  const auto before = splits();
  for (const auto& [removed, split] : before) {
    if (removed.parent_path().filename() != "good") continue;
    fs::remove(removed);
    int moved = 0;
    for (const auto& [image, now] : splits()) moved += now != before.at(image);
    EXPECT_LE(moved, 3) << removed;  // at the edges between the shares
    atomic_write(removed, "");
  }
}

TEST(ScanImageFolder, RefusesSplitsOfOtherNamesAsClasses) {
  const TempFolder folder;
  touch(folder, {"Train/bad/1.png", "Train/good/1.png", "Validation/bad/2.png"});
  EXPECT_THAT(message_of(ErrorCode::kData, [&] { scan(folder); }),
              HasSubstr("name them train, val and test"));
  touch(folder, {"good/1.png"});
  EXPECT_EQ(scan(folder).num_classes(), 3);
}

TEST(ScanImageFolder, KeepsAnImageOfEachTinyClassForTraining) {
  const TempFolder folder;
  touch_many(folder, "bad/", 1);
  touch_many(folder, "good/", 3);
  const ImageFolder scanned = scan(folder);
  EXPECT_THAT(counts(scanned, Split::kTrain), ElementsAre(1, 1));
  EXPECT_THAT(counts(scanned, Split::kVal), ElementsAre(0, 1));
}

TEST(ScanImageFolder, TakesSplitFoldersAsTheyAre) {
  const TempFolder folder;
  touch(folder, {"train/bad/1.png", "train/good/1.jpg", "train/good/2.JPEG", "val/bad/9.tif",
                 "val/good/9.bmp", "test/good/3.webp", "readme.txt", "train/good/notes.txt",
                 "train/good/.hidden.png", "train/.cache/x.png", "other/picture.png"});
  const ImageFolder scanned = scan(folder);
  EXPECT_TRUE(scanned.has_splits);
  EXPECT_THAT(scanned.class_names, ElementsAre("bad", "good"));
  EXPECT_THAT(counts(scanned, Split::kTrain), ElementsAre(1, 2));
  EXPECT_THAT(counts(scanned, Split::kVal), ElementsAre(1, 1));
  EXPECT_THAT(counts(scanned, Split::kTest), ElementsAre(0, 1));
}

TEST(ScanImageFolder, TakesValidationFromTrainingWhereThereIsNone) {
  const TempFolder folder;
  touch_many(folder, "train/bad/", 20);
  touch_many(folder, "train/good/", 40);
  touch_many(folder, "test/bad/", 5);
  touch_many(folder, "test/good/", 5);
  DataConfig config;
  config.val_fraction = 0.25;
  const ImageFolder scanned = scan(folder, config);
  EXPECT_THAT(counts(scanned, Split::kTrain), ElementsAre(15, 30));
  EXPECT_THAT(counts(scanned, Split::kVal), ElementsAre(5, 10));
  EXPECT_THAT(counts(scanned, Split::kTest), ElementsAre(5, 5));
}

TEST(ScanImageFolder, FindsMasksAndCounterfactualsOfASplit) {
  const TempFolder folder;
  touch(folder,
        {"train/crack/1.jpg", "train/crack/2.jpg", "train/crack/deep/1.jpg", "train/intact/1.jpg",
         "val/crack/1.jpg", "val/intact/5.jpg", "train/masks/crack/1.png",
         "train/masks/crack/deep/1.png", "train/counterfactuals/crack/2.png"});
  const ImageFolder scanned = scan(folder);
  std::map<std::string, ImageRecord> by_name;
  for (const auto& record : scanned.split(Split::kTrain))
    by_name[record.image.lexically_relative(folder / "train").string()] = record;
  ASSERT_EQ(by_name.size(), 4u);
  EXPECT_EQ(by_name["crack/1.jpg"].mask, folder / "train/masks/crack/1.png");
  EXPECT_EQ(by_name["crack/deep/1.jpg"].mask, folder / "train/masks/crack/deep/1.png");
  EXPECT_TRUE(by_name["crack/2.jpg"].mask.empty());
  EXPECT_EQ(by_name["crack/2.jpg"].counterfactual, folder / "train/counterfactuals/crack/2.png");
  EXPECT_TRUE(by_name["intact/1.jpg"].mask.empty());
  EXPECT_TRUE(scanned.has_masks(Split::kTrain));
  EXPECT_FALSE(scanned.has_masks(Split::kVal));
}

TEST(ScanImageFolder, FindsMasksWithoutSplits) {
  const TempFolder folder;
  touch(folder, {"crack/1.jpg", "intact/1.jpg", "masks/crack/1.png"});
  const ImageFolder scanned = scan(folder);
  ASSERT_EQ(scanned.split(Split::kTrain).size(), 2u);
  EXPECT_EQ(scanned.split(Split::kTrain)[0].mask, folder / "masks/crack/1.png");
}

TEST(ScanImageFolder, ReadsTheLayoutOfMvtecAd) {
  const TempFolder folder;
  touch_many(folder, "train/good/", 10);
  touch_many(folder, "test/good/", 3);
  touch(folder, {"test/hole/000.png", "test/cut/000.png", "ground_truth/hole/000_mask.png",
                 "test/ground_truth/cut/000_mask.png"});
  const ImageFolder scanned = scan(folder);
  EXPECT_THAT(scanned.class_names, ElementsAre("cut", "good", "hole"));
  EXPECT_EQ(scanned.reference_class, 1);
  const auto& test = scanned.split(Split::kTest);
  ASSERT_EQ(test.size(), 5u);
  EXPECT_EQ(test.front().mask, folder / "test/ground_truth/cut/000_mask.png");
  EXPECT_EQ(test.back().mask, folder / "ground_truth/hole/000_mask.png");
  // It can be evaluated but not trained on: no defect is in train/.
  EXPECT_THAT(message_of(ErrorCode::kData, [&] { require_trainable(scanned); }),
              AllOf(HasSubstr("class cut"), HasSubstr("train/cut"), HasSubstr("move")));
}

TEST(ScanImageFolder, ExplainsWhatIsMissing) {
  const TempFolder folder;
  EXPECT_THAT(scan_message(folder / "none"), HasSubstr("no such folder"));
  EXPECT_THAT(scan_message(folder.write("file.txt", "x")), HasSubstr("is no folder"));
  EXPECT_THAT(scan_message(folder.path()),
              AllOf(HasSubstr("no class folders"), HasSubstr("two or more")));
  touch(folder, {"good/1.png"});
  EXPECT_THAT(scan_message(folder.path()), HasSubstr("one class only (good)"));
  fs::create_directories(folder / "bad");
  EXPECT_THAT(scan_message(folder.path()), AllOf(HasSubstr("bad has no images"), HasSubstr("add")));
  touch(folder, {"bad/1.png"});
  DataConfig config;
  config.reference_class = "goood";
  EXPECT_THAT(scan_message(folder.path(), config),
              AllOf(HasSubstr("goood"), HasSubstr("bad, good"), HasSubstr("did you mean good?")));
}

TEST(ScanImageFolder, ChoosesTheReferenceClass) {
  const TempFolder folder;
  touch_many(folder, "alpha/", 2);
  touch_many(folder, "beta/", 3);
  EXPECT_EQ(scan(folder).reference_class, 1);
  EXPECT_THAT(scan(folder).reference_reason, HasSubstr("a guess"));
  DataConfig config;
  config.reference_class = "alpha";
  EXPECT_EQ(scan(folder, config).reference_class, 0);
  touch_many(folder, "good/", 1);
  EXPECT_EQ(scan(folder).reference_class, 2);
  touch_many(folder, "normal/", 2);  // two good names: the larger one
  EXPECT_EQ(scan(folder).reference_class, 3);
  EXPECT_THAT(scan(folder).reference_reason, HasSubstr("several names"));
}

TEST(Thinned, KeepsEachClassItsShareSpreadOverItsFiles) {
  const TempFolder folder;
  touch_many(folder, "val/bad/", 3);
  touch_many(folder, "val/good/", 57);
  touch_many(folder, "train/bad/", 30);
  const ImageFolder whole = scan(folder), some = thinned(whole, Split::kVal, 20);
  EXPECT_THAT(counts(some, Split::kVal), ElementsAre(1, 19));
  EXPECT_THAT(counts(some, Split::kTrain), ElementsAre(30, 0));
  const auto all = images(whole, Split::kVal), chosen = images(some, Split::kVal);
  for (size_t i = 1; i < chosen.size(); ++i)  // every third of the good ones
    EXPECT_EQ(chosen[i], all[3 + 3 * (i - 1)]);
  EXPECT_THAT(counts(thinned(whole, Split::kVal, 1), Split::kVal), ElementsAre(1, 1));
  for (const int64_t enough : {0, 60, 100})
    EXPECT_EQ(images(thinned(whole, Split::kVal, enough), Split::kVal), all);
}

TEST(RequireTrainable, WantsTrainingImagesOfEachClassAndSomeForValidation) {
  const TempFolder folder;
  touch_many(folder, "bad/", 1);
  touch_many(folder, "good/", 4);
  EXPECT_NO_THROW(require_trainable(scan(folder)));
  const TempFolder tiny;
  touch_many(tiny, "bad/", 1);
  touch_many(tiny, "good/", 1);
  EXPECT_THAT(message_of(ErrorCode::kData, [&] { require_trainable(scan(tiny)); }),
              HasSubstr("no image is left for validation"));
}

TEST(RequireTrainable, WantsNamesThatCanBeStored) {
  const TempFolder folder;
  touch_many(folder,
             "b\xe4"
             "d/",
             4);  // Latin-1
  touch_many(folder, "good/", 4);
  EXPECT_THAT(message_of(ErrorCode::kData, [&] { require_trainable(scan(folder)); }),
              AllOf(HasSubstr("b\xe4"
                              "d"),
                    HasSubstr("UTF-8"), HasSubstr("rename")));
}

TEST(FindImages, WalksAllButMasksAndHiddenFolders) {
  const TempFolder folder;
  touch(folder, {"b.png", "a/x.JPG", "a/y.txt", "masks/m.png", "a/ground_truth/m.png",
                 "counterfactuals/m.png", ".git/m.png", "a/.m.png"});
  EXPECT_THAT(find_images(folder.path()), ElementsAre(folder / "a/x.JPG", folder / "b.png"));
  EXPECT_THAT(find_images(folder / "a/y.txt"), ElementsAre(folder / "a/y.txt"));
  EXPECT_THAT(message_of(ErrorCode::kData, [&] { find_images(folder / "none"); }),
              HasSubstr("no such file"));
}

TEST(GuessReferenceClass, KnowsNamesOfGoodParts) {
  for (const char* name :
       {"good",        "OK",       "okay",       "intact",        "Normal",     "negative",
        "fresh",       "MT_Free",  "undamaged",  "healthy",       "pass",       "clean",
        "no_defect",   "noDefect", "NonCracked", "non-defective", "noncracked", "good_quality",
        "defect-free", "no crack", "01_ok",      "none"})
    EXPECT_TRUE(names_good_parts(name)) << name;
  for (const char* name :
       {"bad", "not_ok", "notGood", "no good", "nok", "abnormal", "unhealthy", "crack", "positive",
        "rotten", "MT_Fray", "nonconforming", "broken", "freedom", "note", "notch"})
    EXPECT_FALSE(names_good_parts(name)) << name;
  EXPECT_EQ(guess_reference_class({"bad", "empty", "good"}), 2);
  EXPECT_EQ(guess_reference_class({"a", "b"}), -1);
  EXPECT_EQ(guess_reference_class({"fresh_apple", "fresh_banana", "rotten"}), -1);
}

TEST(WordsOf, SplitsAtNonLettersAndCamelCase) {
  EXPECT_THAT(words_of("MT_Free"), ElementsAre("mt", "free"));
  EXPECT_THAT(words_of("noDefect2b"), ElementsAre("no", "defect", "b"));
  EXPECT_THAT(words_of("OK"), ElementsAre("ok"));
  EXPECT_THAT(words_of("12"), ElementsAre());
}

}  // namespace
}  // namespace flipside::dataset_test
