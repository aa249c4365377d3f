#include "flipside/core/log.h"

#include <gtest/gtest.h>

namespace flipside::log_test {
namespace {

TEST(FormatDuration, HoursOnlyWhereThereAreAny) {
  EXPECT_EQ(format_duration(-3), "0:00");
  EXPECT_EQ(format_duration(244.6), "4:05");
  EXPECT_EQ(format_duration(3723), "1:02:03");
}

TEST(Progress, ShowsShareAndNote) {
  Progress progress("train", 40, "img", /*done=*/10);
  progress.advance(10, "loss 0.5");
  const std::string line = progress.line();
  EXPECT_EQ(line.rfind("train [############............] 20/40 ", 0), 0u) << line;
  EXPECT_NE(line.find("img/s, "), std::string::npos) << line;
  EXPECT_EQ(line.substr(line.size() - 10), "  loss 0.5");
}

TEST(Progress, DrawsRemarksAtOnceAndNothingWithoutATitle) {
  const auto drawn = [](const std::string& title) {
    testing::internal::CaptureStderr();
    Progress progress(title, 40, "img");
    progress.remark("first");
    progress.remark("second");
    progress.finish();
    return testing::internal::GetCapturedStderr();
  };
  const std::string text = drawn("train");
  EXPECT_NE(text.find("  first"), std::string::npos) << text;
  EXPECT_NE(text.find("  second"), std::string::npos) << text;
  EXPECT_EQ(drawn(""), "");
}

TEST(Progress, RateIsOfWhatWasDoneHere) {
  Progress progress("train", 1000, "img", /*done=*/900);
  EXPECT_EQ(progress.rate(), 0.0) << "what an earlier run did does not count";
  progress.advance(50);
  EXPECT_GT(progress.rate(), 0.0);
}

}  // namespace
}  // namespace flipside::log_test
