#include "flipside/report/attribution_files.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "flipside/data/image_io.h"
#include "support/result_files.h"
#include "support/small_model.h"
#include "support/temp_folder.h"

namespace flipside::attribution_files_test {
namespace {

using Json = nlohmann::ordered_json;

TEST(AttributeFiles, WritesPicturesAndLinesForAClassifier) {
  const TempFolder data;
  const std::vector<cv::Size> sizes{{40, 30}, {16, 16}, {7, 90}};
  for (size_t i = 0; i < sizes.size(); ++i)
    write_image(data / ("in/c/" + std::to_string(i) + ".png"),
                noise_image(sizes[i], static_cast<int>(i)));
  data.write("in/c/9.png", "no image");
  Model model = small_model({"crack", "intact"}, 1, ModelKind::kClassifier);
  const auto files = list_images({data / "in"}, data / "out");
  AttributionFilesOptions options;
  options.method = AttributionMethod::kInputXGradient;
  options.batch = 2;
  options.target = 0;
  for (const int64_t reference : {0, 1}) {
    model.reference_class = reference;
    EXPECT_EQ(attribute_files(model, files, data / "out", options), 1);
    const auto lines = read_json_lines(data / "out/results.jsonl");
    ASSERT_EQ(lines.size(), sizes.size());
    for (size_t i = 0; i < sizes.size(); ++i) {
      const std::string base = (data / "out/c" / std::to_string(i)).string();
      EXPECT_EQ(read_image(base + ".heatmap.png").size(), sizes[i]);
      EXPECT_EQ(read_image(base + ".overlay.png").size(), sizes[i]);
      const cv::Mat mask = read_mask(base + ".mask.png", sizes[i]);
      const Json& line = lines[i];
      EXPECT_EQ(line["method"], "input_x_gradient");
      EXPECT_EQ(line["explained"], "crack");
      EXPECT_GT(line["threshold"].get<double>(), 0);
      EXPECT_NEAR(line["mask_area"], cv::countNonZero(mask) / static_cast<double>(mask.total()),
                  1e-9);
      // A good part has no defect, whatever the map.
      if (line["predicted"] == model.class_names[reference]) {
        EXPECT_EQ(cv::countNonZero(mask), 0);
      }
    }
  }
}

TEST(AttributeFiles, TakesAGivenThreshold) {
  const TempFolder data;
  write_image(data / "in/a.png", noise_image({16, 16}, 3));
  Model model = lively_model({"crack", "intact"}, 1);
  const auto files = list_images({data / "in"}, data / "out");
  AttributionFilesOptions options;
  options.method = AttributionMethod::kSmoothGrad;
  options.threshold = 0.5;
  options.sensitivity = 2;
  attribute_files(model, files, data / "out", options);
  EXPECT_DOUBLE_EQ(read_json_lines(data / "out/results.jsonl")[0]["threshold"], 0.25);
}

}  // namespace
}  // namespace flipside::attribution_files_test
