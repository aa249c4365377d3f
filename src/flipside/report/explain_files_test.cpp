#include "flipside/report/explain_files.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <nlohmann/json.hpp>
#include <opencv2/imgproc.hpp>
#include <sstream>
#include <thread>

#include "flipside/explain/uncertainty.h"
#include "flipside/report/explained_image.h"
#include "flipside/report/pictures.h"
#include "support/result_files.h"
#include "support/small_model.h"
#include "support/temp_folder.h"

namespace flipside::explain_files_test {
namespace {

using Json = nlohmann::ordered_json;

std::vector<std::string> names(const std::vector<ImageFile>& files) {
  std::vector<std::string> result;
  for (const auto& file : files) result.push_back(file.name.string());
  return result;
}

Model test_model() {
  Model model = lively_model({"crack", "intact"}, 1);
  model.thresholds.label_free = 0.1;
  return model;
}

TEST(ListImages, NamesByThePathBelowTheArgument) {
  const TempFolder data;
  for (const char* name : {"test/crack/017.jpg", "test/intact/017.jpg", "single.png"})
    data.write_image(name, {1, 2, 3});
  data.write_image("test/masks/crack/017.png", {0, 0, 0});
  const auto files = list_images({data / "test", data / "single.png"}, data / "out");
  EXPECT_EQ(names(files), (std::vector<std::string>{"crack/017", "intact/017", "single"}));
  EXPECT_EQ(files[0].path, data / "test/crack/017.jpg");
  EXPECT_EQ(names(list_images({data / "test/"}, data / "out")),
            (std::vector<std::string>{"crack/017", "intact/017"}));
}

TEST(ListImages, KeepsTheEndingWhereStemsAreEqual) {
  const TempFolder data;
  for (const char* name : {"a.jpg", "a.png", "b.png"}) data.write_image(name, {1, 2, 3});
  EXPECT_EQ(names(list_images({data.path()}, data / "out")),
            (std::vector<std::string>{"a.jpg", "a.png", "b"}));
  data.write_image("other/b.png", {1, 2, 3});
  EXPECT_NE(message_of(ErrorCode::kUsage,
                       [&] {
                         list_images({data / "b.png", data / "other/b.png"}, data / "out");
                       }),
            "");
  EXPECT_EQ(list_images({data / "b.png", data / "b.png"}, data / "out").size(), 1u);
}

TEST(ListImages, RefusesToFindNothing) {
  const TempFolder data;
  EXPECT_NE(message_of(ErrorCode::kUsage, [&] { list_images({data.path()}, "out"); }), "");
  EXPECT_NE(message_of(ErrorCode::kData, [&] { list_images({data / "missing"}, "out"); }), "");
}

TEST(ExplainFiles, WritesPicturesOfTheOriginalSizeAndOneLinePerImage) {
  const TempFolder data;
  const std::vector<cv::Size> sizes{{40, 30}, {1, 1}, {16, 16}, {7, 90}, {33, 16}};
  for (size_t i = 0; i < sizes.size(); ++i)
    write_image(data / ("in/c/" + std::to_string(i) + ".png"), noise_image(sizes[i], 3));
  const Explainer explainer(test_model());
  const auto files = list_images({data / "in"}, data / "out");
  ExplainFilesOptions options;
  options.batch = 2;
  EXPECT_EQ(explain_files(explainer, files, data / "out", options).unreadable, 0);

  const auto lines = read_json_lines(data / "out/results.jsonl");
  ASSERT_EQ(lines.size(), sizes.size());
  for (size_t i = 0; i < sizes.size(); ++i) {
    const std::string base = (data / "out/c" / std::to_string(i)).string();
    for (const char* ending : {".counterfactual.png", ".heatmap.png", ".overlay.png"})
      EXPECT_EQ(read_image(base + ending).size(), sizes[i]) << base << ending;
    const cv::Mat mask = read_mask(base + ".mask.png", sizes[i]);
    const Json& line = lines[i];
    std::vector<std::string> keys;
    for (const auto& item : line.items()) keys.push_back(item.key());
    EXPECT_EQ(keys,
              (std::vector<std::string>{
                  "image", "predicted", "probabilities", "fakeness", "doubt", "certain",
                  "head_predicted", "target", "counterfactual_predicted", "counterfactual_fakeness",
                  "scale", "windows", "worst_window", "mask_area", "boxes", "defects"}));
    EXPECT_EQ(line["image"], files[i].path.string());
    EXPECT_NEAR(line["probabilities"]["crack"].get<double>() +
                    line["probabilities"]["intact"].get<double>(),
                1, 1e-5);
    EXPECT_NEAR(line["mask_area"], cv::countNonZero(mask) / static_cast<double>(mask.total()),
                1e-9);
    EXPECT_NE(line["target"], line["predicted"]);
    int64_t area = 0;
    for (const auto& defect : line["defects"]) area += defect["area_px"].get<int64_t>();
    EXPECT_EQ(area, cv::countNonZero(mask));
  }
  EXPECT_FALSE(read_image(data / "out/contact_sheet.png").empty());
  EXPECT_EQ(list_images({data.path()}, data / "out").size(),
            sizes.size());  // own pictures no input
}

TEST(ExplainFiles, ASignalEndsItWithTheResultsSoFar) {
  const TempFolder data;
  for (int i = 0; i < 300; ++i)
    write_image(data / ("in/" + std::to_string(i) + ".png"), noise_image({40, 40}, i));
  const auto files = list_images({data / "in"}, data / "out");
  const fs::path first = data / ("out/" + files[0].name.string() + ".mask.png");
  std::thread interrupter([&first] {
    while (!fs::exists(first)) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    kill(getpid(), SIGINT);
  });
  ExplainFilesOptions options;
  options.batch = 1;
  const auto counts = explain_files(Explainer(test_model()), files, data / "out", options);
  interrupter.join();
  EXPECT_GT(counts.seen, 0);
  EXPECT_LT(counts.seen, 300);
  EXPECT_EQ(read_json_lines(data / "out/results.jsonl").size(), static_cast<size_t>(counts.seen));
  EXPECT_TRUE(fs::exists(data / "out/defects.csv"));
}

TEST(ExplainFiles, ExplainsLargeImagesInWindowsBesideSmallOnes) {
  const TempFolder data;
  const std::vector<cv::Size> sizes{{16, 16}, {130, 50}, {20, 20}, {64, 300}};
  for (size_t i = 0; i < sizes.size(); ++i)
    write_image(data / ("in/" + std::to_string(i) + ".png"), noise_image(sizes[i], 3));
  Model model = test_model();
  model.native_sides = {32, 40};  // half of it is what the networks see
  ExplainFilesOptions options;
  options.mm_per_pixel = 0.5;
  const auto files = list_images({data / "in"}, data / "out");
  EXPECT_EQ(explain_files(Explainer(model), files, data / "out", options).unreadable, 0);
  const auto lines = read_json_lines(data / "out/results.jsonl");
  ASSERT_EQ(lines.size(), sizes.size());
  size_t defects = 0;
  for (size_t i = 0; i < sizes.size(); ++i) {
    const fs::path base = data / "out" / std::to_string(i);
    for (const char* ending : {".counterfactual.png", ".heatmap.png", ".mask.png", ".overlay.png"})
      EXPECT_EQ(read_image(base.string() + ending).size(), sizes[i]);
    const bool large = i % 2 == 1;
    EXPECT_EQ(lines[i]["scale"], large ? Json(0.5) : Json("fit"));
    EXPECT_EQ(lines[i]["windows"].get<int>() > 1, large);
    const Json& worst = lines[i]["worst_window"];
    const cv::Rect window(worst["x"].get<int>(), worst["y"].get<int>(), worst["width"].get<int>(),
                          worst["height"].get<int>());
    EXPECT_EQ(window & cv::Rect({0, 0}, sizes[i]), window);
    EXPECT_NEAR(window.width, large ? 32 : sizes[i].width, 1);
    for (const auto& defect : lines[i]["defects"]) {
      EXPECT_NEAR(defect["length_mm"].get<double>(), defect["length_px"].get<double>() / 2, 1e-3);
      EXPECT_EQ(defect["class"], "crack");
    }
    defects += lines[i]["defects"].size();
  }
  std::istringstream table(read_file(data / "out/defects.csv"));
  size_t rows = 0;
  for (std::string line; std::getline(table, line); ++rows)
    EXPECT_EQ(std::count(line.begin(), line.end(), ','), 14) << line;
  EXPECT_EQ(rows, defects + 1);
  EXPECT_GT(defects, 0u);
}

TEST(ExplainFiles, SaysWhichAnswersAreCertain) {
  const TempFolder data;
  for (int i = 0; i < 6; ++i)
    write_image(data / ("in/" + std::to_string(i) + ".png"), noise_image({16, 16}, i));
  const auto files = list_images({data / "in"}, data / "out");
  Model model = test_model();
  EXPECT_EQ(explain_files(Explainer(model), files, data / "out").doubtful, 0);
  EXPECT_TRUE(read_json_lines(data / "out/results.jsonl")[0]["certain"].is_null())
      << "without a rule";

  std::vector<double> doubts;
  for (const auto& file : files)
    doubts.push_back(doubt_scores(model, to_tensor(read_image(file.path)).unsqueeze(0))
                         .at("entropy")
                         .item<double>());
  std::vector<double> sorted = doubts;
  std::sort(sorted.begin(), sorted.end());
  model.doubt_rule = DoubtRule{"entropy", (sorted[3] + sorted[4]) / 2, 0.7};
  EXPECT_EQ(explain_files(Explainer(model), files, data / "out").doubtful, 2);
  const auto lines = read_json_lines(data / "out/results.jsonl");
  for (size_t i = 0; i < files.size(); ++i) {
    EXPECT_NEAR(lines[i]["doubt"], doubts[i], 1e-4);
    EXPECT_EQ(lines[i]["certain"], doubts[i] <= model.doubt_rule->threshold);
  }
}

TEST(ExplainFiles, SkipsAnUnreadableImageAndCountsIt) {
  const TempFolder data;
  for (const char* name : {"in/a.png", "in/b.png", "in/d.png"})
    write_image(data / name, noise_image({20, 20}, 4));
  data.write("in/c.png", "no image");
  const std::string whole = read_file(data / "in/d.png");
  data.write("in/d.png", whole.substr(0, whole.size() / 2));
  const auto files = list_images({data / "in"}, data / "out");
  EXPECT_EQ(explain_files(Explainer(test_model()), files, data / "out", {}).unreadable, 2);
  const auto lines = read_json_lines(data / "out/results.jsonl");
  ASSERT_EQ(lines.size(), 2u);
  EXPECT_EQ(lines[1]["image"], (data / "in/b.png").string());
  EXPECT_FALSE(fs::exists(data / "out/c.mask.png"));
}

TEST(ExplainFiles, LeavesNoTemporaryFileAndReplacesEarlierResults) {
  const TempFolder data;
  write_image(data / "in/a.png", noise_image({20, 20}, 4));
  const Explainer explainer(test_model());
  const auto files = list_images({data / "in"}, data / "out");
  ExplainFilesOptions options;
  options.target = 0;
  for (int run = 0; run < 2; ++run) explain_files(explainer, files, data / "out", options);
  EXPECT_EQ(read_json_lines(data / "out/results.jsonl").size(), 1u);
  EXPECT_EQ(read_json_lines(data / "out/results.jsonl")[0]["target"], "crack");
  for (const auto& entry : fs::directory_iterator(data / "out"))
    EXPECT_EQ(entry.path().string().find(".tmp"), std::string::npos) << entry.path();
  data.write("file", "in the way");
  EXPECT_NE(
      message_of(ErrorCode::kIo, [&] { explain_files(explainer, files, data / "file", options); }),
      "");
}

TEST(DrawExplanation, AddsTheEnlargedChangeToTheOriginal) {
  const Explainer explainer(test_model());
  const cv::Mat image = noise_image({16, 16}, 8);  // the network's own size: nothing is enlarged
  const Explanation e = explainer.explain(network_input(explainer, image).unsqueeze(0));
  const ExplainedImage drawn = draw_explanation(explainer, e, 0, image);
  EXPECT_LE(cv::norm(drawn.counterfactual, to_image(e.counterfactual[0]), cv::NORM_INF), 1);
  EXPECT_LE(cv::norm(drawn.heatmap, heatmap(e.saliency[0]), cv::NORM_INF), 0);
  EXPECT_LE(cv::norm(drawn.mask, to_mask_image(e.mask[0]), cv::NORM_INF), 0);

  // A change of nothing leaves every detail of a larger original.
  Explanation unchanged = e;
  const cv::Mat large = noise_image({50, 37}, 9);
  unchanged.counterfactual = network_input(explainer, large).unsqueeze(0);
  EXPECT_EQ(cv::norm(draw_explanation(explainer, unchanged, 0, large).counterfactual, large,
                     cv::NORM_INF),
            0);
}

}  // namespace
}  // namespace flipside::explain_files_test
