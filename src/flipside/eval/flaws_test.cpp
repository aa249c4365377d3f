#include "flipside/eval/flaws.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace flipside::flaws_test {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using Severity = Finding::Severity;

/// What a good model of cracks (0) on intact walls (1) was measured to do.
Results good_results() {
  Results results;
  results.class_names = {"crack", "intact"};
  results.reference_class = 1;
  results.images = 200;
  results.confusion = {{98, 2}, {1, 99}};
  results.flips = {{0, 1, 100, 0.9, 0.4, 0.95}, {1, 0, 100, 0.98, 0.5, 0.97}};
  results.changes = {{0, 1, 100, 0.03, 0.1, 0.06, 0.8, {}, {}},
                     {1, 0, 100, 0.02, 0.1, 0.05, 0.8, {}, {}},
                     {1, 1, 100, 0.01, 0.03, 0.012, 0.7, {}, {}}};
  results.false_marks = false_marks(results.changes, 1);
  results.mask_images = 98;
  results.label_free = MaskScores();
  results.label_free->iou = 0.6;
  results.darkness_iou = 0.3;
  results.faithfulness = results.judge_faithfulness = FaithfulnessScores();
  results.faithfulness->images = results.judge_faithfulness->images = 97;
  results.faithfulness->deletion = 0.7;
  results.judge_faithfulness->deletion = 0.6;
  return results;
}

void expect_one(const Results& results, Severity severity, const std::string& text) {
  const auto flaws = find_flaws(results);
  ASSERT_EQ(flaws.size(), 1u) << to_text(flaws);
  EXPECT_EQ(flaws[0].severity, severity) << flaws[0].what;
  EXPECT_THAT(flaws[0].what, HasSubstr(text));
  EXPECT_NE(flaws[0].remedy, "");
}

TEST(Flaws, AGoodModelHasNone) { EXPECT_THAT(to_text(find_flaws(good_results())), IsEmpty()); }

TEST(Flaws, AYardstickIsAskedForItsClassesOnly) {
  Results results;
  results.class_names = {"crack", "intact"};
  results.reference_class = 1;
  results.confusion = {{40, 2}, {1, 39}};
  EXPECT_THAT(find_flaws(results), IsEmpty());
  results.confusion.clear();  // a segmenter
  EXPECT_THAT(find_flaws(results), IsEmpty());
}

TEST(Flaws, NamesAnswersThatAreHardlyBetterThanGuesses) {
  Results results;
  results.class_names = {"bad", "good"};
  results.reference_class = 1;
  results.confusion = {{32, 28}, {21, 39}};  // each class is recognised more often than not
  expect_one(results, Severity::kWarning, "balanced accuracy 0.592, chance has 0.500");
  results.confusion = {{45, 15}, {15, 45}};
  EXPECT_THAT(find_flaws(results), IsEmpty());
  results.class_names = {"bad", "good", "worse"};
  results.confusion = {{30, 15, 15}, {15, 30, 15}, {15, 15, 30}};
  expect_one(results, Severity::kWarning, "balanced accuracy 0.500, chance has 0.333");
}

TEST(Flaws, NamesCastsOfColour) {
  Results results = good_results();
  results.without_cast = true;
  expect_one(results, Severity::kNote, "another colour all over");
}

TEST(Flaws, NamesAClassThatIsMostlyTakenForAnother) {
  Results results = good_results();
  results.confusion = {{49, 51}, {1, 99}};
  expect_one(results, Severity::kWarning,
             "class crack: 49 of 100 images are recognised, 51 are taken for intact");
  results.confusion = {{50, 50}, {1, 99}};
  EXPECT_THAT(find_flaws(results), IsEmpty());
}

TEST(Flaws, NamesDirectionsThatFail) {
  Results results = good_results();
  results.flips[0].by_discriminator = 0.12;
  results.flips[0].by_judge = 0.1;
  expect_one(results, Severity::kWarning, "gives up");
  expect_one(results, Severity::kWarning, "crack > intact (0.120)");
  results = good_results();
  results.flips[1].by_discriminator = 0.12;
  expect_one(results, Severity::kNote, "intact > crack (0.120)");
}

TEST(Flaws, NamesCounterfactualsThatDeceiveTheModelAlone) {
  Results results = good_results();
  results.flips[1].by_judge = 0.2;
  expect_one(results, Severity::kWarning, "intact > crack (model 0.980, judge 0.200)");
}

TEST(Flaws, NamesMasksThatMarkGoodImagesToo) {
  Results results = good_results();
  results.changes[2].marked = 0.029;
  results.false_marks = false_marks(results.changes, 1);
  EXPECT_THAT(find_flaws(results), IsEmpty());
  results.changes[2].marked = 0.031;
  results.false_marks = false_marks(results.changes, 1);
  expect_one(results, Severity::kWarning, "good images are marked nearly as much as defects: 0.52");
}

TEST(Flaws, NamesMasksBelowTheTrivialMap) {
  Results results = good_results();
  results.label_free->iou = 0.29;
  expect_one(results, Severity::kWarning, "0.290 and 0.300");
}

TEST(Flaws, NotesWhatMayBeRight) {
  Results results = good_results();
  results.changes[1].diversity = 0.05;
  expect_one(results, Severity::kNote, "the same change in every image");
  results = good_results();
  results.changes[0].changed = 0.6;
  expect_one(results, Severity::kNote, "most of the image changes");
  results = good_results();
  results.judge_faithfulness->deletion = 0.3;
  expect_one(results, Severity::kNote, "turns 0.300 of the judge's answers");
  results.judge_faithfulness.reset();
  EXPECT_THAT(find_flaws(results), IsEmpty()) << "without a judge the model's own count";
}

TEST(Flaws, NotesFewImagesWithWhatIsKnownOfThem) {
  Results results = good_results();
  results.confusion = {{9, 1}, {1, 99}};  // Wilson: 9 of 10 is .596 to .982
  expect_one(results, Severity::kNote, "crack 0.60 to 0.98 (10 images)");
}

TEST(Flaws, PutsTheWorstFirst) {
  Results results = good_results();
  results.changes[0].changed = 0.6;
  results.confusion = {{40, 60}, {1, 99}};
  const auto flaws = find_flaws(results);
  ASSERT_EQ(flaws.size(), 2u);
  EXPECT_EQ(flaws[0].severity, Severity::kWarning);
  EXPECT_THAT(to_json(flaws), HasSubstr(R"([{"severity":"warning","what":"class crack: 40)"));
}

}  // namespace
}  // namespace flipside::flaws_test
