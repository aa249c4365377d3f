#include "flipside/report/attribution_files.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "flipside/core/file.h"
#include "flipside/core/log.h"
#include "flipside/data/image_io.h"
#include "flipside/explain/answer.h"
#include "flipside/explain/mask_image.h"
#include "flipside/report/pictures.h"
#include "flipside/report/result_json.h"

namespace flipside {
namespace {

using Json = nlohmann::ordered_json;

struct Picture {
  const ImageFile* file = nullptr;
  cv::Mat image;
  cv::Mat seen;  ///< by the network
};

/// Reads the next pictures from `position` on and moves it; counts those that cannot be read.
std::vector<Picture> read_pictures(const std::vector<ImageFile>& files, size_t& position, int side,
                                   int64_t batch, int64_t& unreadable) {
  std::vector<Picture> pictures;
  int64_t pixels = 0;
  for (; position < files.size() && static_cast<int64_t>(pictures.size()) < batch &&
         pixels < kMaxBatchPixels;
       ++position) {
    try {
      const cv::Mat image = read_image(files[position].path);
      pictures.push_back({&files[position], image, resize_image(image, cv::Size(side, side))});
      pixels += static_cast<int64_t>(pictures.back().image.total());
    } catch (const std::exception& error) {  // of memory and of OpenCV too: the next one may do
      warn("skipped: {}", error.what());
      ++unreadable;
    }
  }
  return pictures;
}

/// What the network says of a batch, and where.
struct MapAnswers {
  Tensor probs;      ///< [N,K]
  Tensor explained;  ///< [N] int64
  Tensor maps;       ///< [N,1,S,S] finished
};

MapAnswers answer(const Model& model, const std::vector<Picture>& pictures,
                  const AttributionFilesOptions& options) {
  std::vector<Tensor> inputs;
  for (const auto& picture : pictures) inputs.push_back(to_tensor(picture.seen));
  const Tensor images = torch::stack(inputs).contiguous(kChannelsLast);
  MapAnswers answers;
  answers.probs = real_class_probs(model, images);
  const Tensor predicted = answers.probs.argmax(/*dim=*/1);
  answers.explained = options.target < 0 ? predicted : torch::full_like(predicted, options.target);
  answers.maps = finished_map(
      options.method, class_maps(options.method, model, images, answers.explained, options.setting),
      images, options.setting);
  return answers;
}

/// A map without a unit fills the scale of colours; one in units of the image has its place there.
cv::Mat draw_heat(const cv::Mat& map, AttributionMethod method) {
  return heatmap(is_attribution(method) ? cv::Mat(map * kHeatScale) : map);
}

/// Writes the pictures of one image and gives its line of results.
std::string write_one(const Model& model, const Picture& picture, const MapAnswers& answers,
                      int64_t row, const fs::path& out, const AttributionFilesOptions& options) {
  const Tensor map = answers.maps[row];
  const double chosen = std::isnan(options.threshold) ? otsu_threshold(map) : options.threshold;
  const double threshold = std::max(chosen / options.sensitivity, kMinThreshold);
  const int64_t predicted = answers.probs[row].argmax().item<int64_t>();
  const cv::Mat enlarged = enlarge_by_edges(to_float_map(map), picture.seen, picture.image);
  const cv::Mat mask =
      predicted == model.reference_class
          ? cv::Mat(cv::Mat::zeros(picture.image.size(), CV_8UC1))
          : mask_image(enlarged, finished_mask_options(options.setting, threshold));
  const std::string base = (out / picture.file->name).string();
  write_image(base + ".heatmap.png", draw_heat(enlarged, options.method));
  write_image(base + ".mask.png", mask);
  write_image(base + ".overlay.png", overlay(picture.image, mask));

  Json probabilities, boxes = Json::array();
  for (int64_t k = 0; k < model.num_classes(); ++k)
    probabilities[model.class_names[k]] = six_decimals(answers.probs[row][k].item<double>());
  for (const auto& box : mask_boxes(mask)) boxes.push_back(box_json(box));
  const Json line{{"image", picture.file->path.string()},
                  {"predicted", model.class_names[predicted]},
                  {"probabilities", probabilities},
                  {"method", to_string(options.method)},
                  {"explained", model.class_names[answers.explained[row].item<int64_t>()]},
                  {"threshold", six_decimals(threshold)},
                  {"mask_area",
                   static_cast<double>(cv::countNonZero(mask)) / static_cast<double>(mask.total())},
                  {"boxes", boxes}};
  return line.dump(-1, ' ', /*ensure_ascii=*/false, Json::error_handler_t::replace) + "\n";
}

}  // namespace

int64_t attribute_files(const Model& model, const std::vector<ImageFile>& files,
                        const fs::path& out, const AttributionFilesOptions& options) {
  make_folder(out);
  Progress progress("explain", static_cast<int64_t>(files.size()), "img");
  std::string lines;
  int64_t unreadable = 0;
  for (size_t position = 0; position < files.size();) {
    const size_t begin = position;
    const auto pictures = read_pictures(files, position, static_cast<int>(model.config.data.size),
                                        options.batch, unreadable);
    if (!pictures.empty()) {
      const MapAnswers answers = answer(model, pictures, options);
      for (size_t row = 0; row < pictures.size(); ++row)
        lines += write_one(model, pictures[row], answers, static_cast<int64_t>(row), out, options);
    }
    progress.advance(static_cast<int64_t>(position - begin));
  }
  progress.finish();
  atomic_write(out / shard_file("results", ".jsonl", options.shard), lines);
  return unreadable;
}

}  // namespace flipside
