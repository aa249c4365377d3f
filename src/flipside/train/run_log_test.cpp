#include "flipside/train/run_log.h"

#include <gtest/gtest.h>

#include <cmath>
#include <fstream>

#include "flipside/core/file.h"

namespace flipside::run_log_test {
namespace {

TEST(RunLog, RewindDropsLaterAndBrokenLines) {
  const fs::path file = fs::path(testing::TempDir()) / "run_log" / "metrics.jsonl";
  fs::remove_all(file.parent_path());
  make_folder(file.parent_path());
  const RunLog log(file);
  log.write(50, "train", {{"D", 0.5}});
  log.write(100, "val", {{"iou", std::nan("")}});
  log.write(150, "train", {{"D", 0.25}});
  std::ofstream(file, std::ios::app) << "{\"step\": 160, \"ki";
  log.rewind_to(100);
  EXPECT_EQ(read_file(file),
            "{\"step\":50,\"kind\":\"train\",\"D\":0.5}\n"
            "{\"step\":100,\"kind\":\"val\",\"iou\":null}\n");
}

TEST(RunLog, ReadsWhatItWroteAndPassesOverBrokenLines) {
  const fs::path file = fs::path(testing::TempDir()) / "run_log_read" / "metrics.jsonl";
  fs::remove_all(file.parent_path());
  make_folder(file.parent_path());
  const RunLog log(file);
  EXPECT_TRUE(log.read().empty());
  log.write(50, "train", {{"real", 0.5}, {"D", 0.25}});
  log.write(100, "val", {{"iou", std::nan("")}});
  std::ofstream(file, std::ios::app) << "[1]\n{\"step\": 160, \"ki";
  const auto lines = log.read();
  ASSERT_EQ(lines.size(), 2u);
  EXPECT_EQ(lines[0].step, 50);
  EXPECT_EQ(lines[0].kind, "train");
  EXPECT_EQ(lines[0].values,
            (std::vector<std::pair<std::string, double>>{{"real", 0.5}, {"D", 0.25}}));
  EXPECT_EQ(lines[1].kind, "val");
  EXPECT_TRUE(std::isnan(lines[1].values.at(0).second));
}

}  // namespace
}  // namespace flipside::run_log_test
