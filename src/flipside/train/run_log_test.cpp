#include "flipside/train/run_log.h"

#include <gtest/gtest.h>

#include <fstream>

#include "flipside/core/file.h"

namespace flipside {
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

}  // namespace
}  // namespace flipside
