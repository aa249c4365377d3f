#include "flipside/data/check.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "flipside/data/effect_size.h"
#include "flipside/data/pack.h"
#include "support/noise_data.h"

namespace flipside::check_test {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

using Severity = Finding::Severity;

DataConfig small_config() {
  DataConfig config;
  config.size = 16;
  return config;
}

/// Writes `count` images, all different, whose brightness is near `light`.
void write_class(const TempFolder& folder, const std::string& prefix, int count, int light,
                 int seed, cv::Size size = {16, 16}) {
  for (int i = 0; i < count; ++i)
    folder.write_image(prefix + fmt::format("{:02}.png", i),
                       cv::Scalar(light + 2 * i, light - 2 * i, light + seed + 5 * (i % 3)), size);
}

/// A data set without a fault, all images different.
void write_sound_data(const TempFolder& folder) {
  int seed = 0;
  for (const char* split : {"train", "val", "test"})
    for (const char* name : {"bad", "good"})
      write_class(folder, fmt::format("{}/{}/", split, name), split[1] == 'r' ? 24 : 5, 120,
                  seed++);
}

DataReport check(const TempFolder& folder, const DataConfig& config = small_config()) {
  return check_data(folder.path(), config);
}

/// "severity: what -> remedy" of every finding, one a line.
std::string findings(const DataReport& report) {
  std::string text;
  for (const auto& finding : report.findings)
    text += fmt::format("{}: {} -> {}\n", static_cast<int>(finding.severity), finding.what,
                        finding.remedy);
  return text;
}

TEST(CheckData, FindsNothingInSoundData) {
  const TempFolder folder;
  write_sound_data(folder);
  const DataReport report = check(folder);
  EXPECT_EQ(findings(report), "");
  EXPECT_FALSE(report.has_errors());
  EXPECT_THAT(report.count, ElementsAre(ElementsAre(24, 24), ElementsAre(5, 5), ElementsAre(5, 5)));
  EXPECT_THAT(report.sizes, ElementsAre(std::pair<const std::string, int64_t>("16x16", 68)));
  EXPECT_THAT(to_text(report), AllOf(HasSubstr("no problems found"), HasSubstr("16x16 (68)"),
                                     HasSubstr("reference class  good")));
}

TEST(CheckData, NamesUnreadableFiles) {
  const TempFolder folder;
  write_sound_data(folder);
  folder.write("train/bad/broken.png", "text");
  const DataReport report = check(folder);
  EXPECT_TRUE(report.has_errors());
  ASSERT_EQ(report.findings.size(), 1u);
  EXPECT_EQ(report.findings[0].severity, Severity::kError);
  EXPECT_THAT(report.findings[0].what, HasSubstr("train/bad/broken.png"));
  EXPECT_THAT(report.count[0], ElementsAre(25, 24));
}

TEST(CheckData, ChecksMasks) {
  const TempFolder folder;
  write_sound_data(folder);
  const auto mask = [&](const std::string& name, int value, cv::Size size = {16, 16}) {
    write_image(folder / name, cv::Mat(size, CV_8UC1, cv::Scalar(value)));
  };
  mask("train/masks/bad/00.png", 255);
  mask("train/masks/bad/01.png", 2);            // neither 0 and 255 nor 0 and 1
  mask("train/masks/bad/02.png", 255, {9, 9});  // of another size
  mask("train/masks/bad/99.png", 255);          // of no image
  mask("train/masks/good/03.png", 255);         // a defect in a good part
  const DataReport report = check(folder);
  EXPECT_THAT(report.masks, ElementsAre(ElementsAre(3, 1), ElementsAre(0, 0), ElementsAre(0, 0)));
  EXPECT_THAT(findings(report),
              AllOf(HasSubstr("mark no pixel: train/masks/bad/01.png"),
                    HasSubstr("measures 9x9 and its image 16x16"),
                    HasSubstr("belong to no image: train/masks/bad/99.png"),
                    HasSubstr("reference class good have a defect in their mask: "
                              "train/masks/good/03.png"),
                    HasSubstr("21 of the 24 train images of class bad have no mask")));
  EXPECT_EQ(report.findings.size(), 5u) << findings(report);
}

TEST(CheckData, FindsMasksOfSeveralImages) {
  const TempFolder folder;
  write_sound_data(folder);
  write_image(folder / "ground_truth/bad/00_mask.png", cv::Mat(16, 16, CV_8UC1, cv::Scalar(255)));
  EXPECT_THAT(findings(check(folder)),
              HasSubstr("belong to more than one image: ground_truth/bad/00_mask.png"));
}

TEST(CheckData, FindsEqualImages) {
  const TempFolder folder;
  write_sound_data(folder);
  fs::copy(folder / "train/bad/01.png", folder / "test/bad/copy.png");
  fs::copy(folder / "train/bad/02.png", folder / "train/bad/copy.png");
  fs::copy(folder / "train/bad/03.png", folder / "train/good/copy.png");
  const DataReport report = check(folder);
  EXPECT_THAT(findings(report),
              AllOf(HasSubstr("1: 2 images have an equal one in another split: test/bad/copy.png, "
                              "train/bad/01.png"),
                    HasSubstr("0: 2 images have an equal one in their split and class"),
                    HasSubstr("2: 2 images have an equal one in another class")));
  EXPECT_EQ(report.findings.front().severity, Severity::kError);  // the worst comes first
}

TEST(CheckData, SeesFewAndUnevenImages) {
  const TempFolder folder;
  write_class(folder, "train/bad/", 3, 120, 0);
  write_class(folder, "train/good/", 22, 120, 1);
  write_class(folder, "val/good/", 3, 120, 2);
  write_class(folder, "test/worse/", 3, 120, 3);
  DataConfig config = small_config();
  EXPECT_THAT(
      findings(check(folder, config)),
      AllOf(HasSubstr("class worse has no training images"),
            HasSubstr("class bad has 3 training images only"),
            HasSubstr("class bad has no val images"), HasSubstr("class good has no test images")));
  fs::remove_all(folder / "test");
  EXPECT_THAT(findings(check(folder, config)),
              AllOf(HasSubstr("0: class good has 7.3 times as many"),
                    HasSubstr("0: the test split has no images")));
  config.balanced = false;
  EXPECT_THAT(findings(check(folder, config)), HasSubstr("1: class good has 7.3 times as many"));
  fs::remove_all(folder / "val");
  EXPECT_THAT(findings(check(folder, config)),
              HasSubstr("no val/: 4 training images are set aside"));  // 1 of 3 and 3 of 22
}

TEST(CheckData, WarnsOfAGuessedReferenceClass) {
  const TempFolder folder;
  write_class(folder, "a/", 30, 120, 0);
  write_class(folder, "b/", 40, 120, 1);
  DataConfig config = small_config();
  EXPECT_THAT(findings(check(folder, config)), HasSubstr("1: the reference class b is a guess"));
  config.reference_class = "a";
  EXPECT_THAT(findings(check(folder, config)), Not(HasSubstr("reference")));
}

TEST(CheckData, WarnsOfCuesThatAreNoDefect) {
  const TempFolder folder;
  write_class(folder, "train/bad/", 24, 120, 0, {16, 32});
  write_class(folder, "train/good/", 24, 160, 1);
  write_class(folder, "val/bad/", 5, 120, 2, {16, 32});
  write_class(folder, "val/good/", 5, 160, 3);
  const std::string text = findings(check(folder));
  EXPECT_THAT(text, AllOf(HasSubstr("1: the classes differ in mean brightness: good 0.6"),
                          HasSubstr("1: the classes differ in shape (width over height): good 1 "
                                    "against bad 0.5 (d = inf)"),
                          HasSubstr("29 images have a side over 1.5 times the other")));
}

TEST(CheckData, TellsOfColoursThatDiffer) {
  const TempFolder folder;
  for (const std::string name : {"bad", "good"}) {
    for (int i = 0; i < 24; ++i)
      folder.write_image(fmt::format("train/{}/{}.png", name, i),
                         cv::Scalar(127 - i % 3, 100 + i, name == "bad" ? 63 : 127), {16, 16});
    // Other images than those of the training do not count.
    for (int i = 0; i < 6; ++i)
      folder.write_image(fmt::format("val/{}/{}.png", name, i), cv::Scalar(10 + i, 90, 200),
                         {16, 16});
  }
  const std::string text = findings(check(folder));
  // Red is 126 in the mean: 127 / 64 and 127 / 128 with one added to both.
  EXPECT_THAT(text, HasSubstr("0: the classes differ in colour (red over blue): good 0.992 against "
                              "bad 1.98"));
  EXPECT_THAT(text, HasSubstr("data.tint"));
}

TEST(CheckData, TellsOfColoursThatDifferAMediumWay) {
  // Blue is spread over 24 values; "bad" is `shift` of their steps bluer.
  const auto told = [](int shift) {
    const TempFolder folder;
    for (const std::string name : {"bad", "good"})
      for (int i = 0; i < 30; ++i)
        folder.write_image(fmt::format("{}/{}/{}.png", i < 24 ? "train" : "val", name, i),
                           cv::Scalar(127, 127, 100 + i + (name == "bad" ? shift : 0)), {16, 16});
    return findings(check(folder));
  };
  EXPECT_THAT(told(5), AllOf(HasSubstr("differ in colour"), HasSubstr("d = 0.7")));
  EXPECT_THAT(told(5), Not(HasSubstr("differ in mean brightness")));
  EXPECT_THAT(told(2), Not(HasSubstr("differ in colour")));
}

TEST(CheckData, WarnsOfTwelveBitsInFilesOfSixteen) {
  const TempFolder folder;
  write_sound_data(folder);
  cv::Mat deep(16, 16, CV_16UC1, cv::Scalar(1000));
  deep.at<uint16_t>(3, 4) = 4095;
  write_image(folder / "train/bad/deep.png", deep);
  EXPECT_THAT(findings(check(folder)),
              HasSubstr("darker than 32 of 255 everywhere: train/bad/deep.png"));
  deep *= 16;
  write_image(folder / "train/bad/deep.png", deep);
  EXPECT_THAT(findings(check(folder)), Not(HasSubstr("darker than")));
}

TEST(CheckData, FindsStrayFiles) {
  const TempFolder folder;
  write_sound_data(folder);
  folder.write("train/bad/notes.txt", "x");
  folder.write("train/loose.png", "x");
  folder.write("validation/bad/0.png", "x");
  folder.write("README.md", "x");
  const DataReport report = check(folder);
  EXPECT_THAT(findings(report),
              AllOf(HasSubstr("no images and are passed over: train/bad/notes.txt"),
                    HasSubstr("outside of a class folder and are passed over: train/loose.png"),
                    HasSubstr("beside the splits are passed over: validation")));
  EXPECT_EQ(report.findings.size(), 3u) << findings(report);
}

TEST(CheckData, WritesJson) {
  const TempFolder folder;
  write_sound_data(folder);
  folder.write("train/bad/\xff.png", "no image, and no UTF-8 name");
  const auto json = nlohmann::json::parse(to_json(check(folder)));
  EXPECT_EQ(json["classes"], (std::vector<std::string>{"bad", "good"}));
  EXPECT_EQ(json["count"]["train"]["bad"], 25);
  EXPECT_EQ(json["masks"]["test"]["good"], 0);
  EXPECT_EQ(json["sizes"]["16x16"], 68);
  EXPECT_EQ(json["reference_class"], "good");
  EXPECT_EQ(json["has_errors"], true);
  ASSERT_EQ(json["findings"].size(), 1u);
  EXPECT_EQ(json["findings"][0]["severity"], "error");
  EXPECT_NE(json["findings"][0]["remedy"], "");
}

TEST(CheckData, ThrowsWhereThereIsNoDataSet) {
  const TempFolder folder;
  EXPECT_THAT(message_of(ErrorCode::kData, [&] { check(folder); }), HasSubstr("no class folders"));
}

TEST(CheckData, SendsAPackToTheFolderThatItWasMadeFrom) {
  const TempFolder folder;
  write_noise_data(folder / "data", {"crack", "intact"}, 2);
  DataConfig config;
  config.size = 16;
  write_pack(scan_image_folder(folder / "data", config), config.size, folder / "pack.safetensors");
  EXPECT_THAT(
      message_of(ErrorCode::kUsage, [&] { check_data(folder / "pack.safetensors", config); }),
      HasSubstr("packed data set"));
}

TEST(CohensD, EqualsTheFormulaByHand) {
  // Means 2 and 5; sums of squares 2 and 8 over 3 + 3 - 2 degrees of freedom: 3 / sqrt(2.5).
  EXPECT_NEAR(cohens_d({1, 2, 3}, {3, 5, 7}), 3 / std::sqrt(2.5), 1e-12);
  EXPECT_EQ(cohens_d({0.1, 0.1, 0.1}, {0.1, 0.1}), 0);
  EXPECT_TRUE(std::isinf(cohens_d({1, 1}, {2, 2})));
}

}  // namespace
}  // namespace flipside::check_test
