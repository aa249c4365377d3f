#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "flipside/core/error.h"
#include "flipside/eval/comparison.h"
#include "flipside/eval/text_table.h"

namespace flipside {
namespace {

using Json = nlohmann::ordered_json;

Json scores_json(const MaskScores& scores) {
  return {{"threshold", scores.threshold},
          {"iou", scores.iou},
          {"mean_iou", scores.mean_iou},
          {"f1", scores.f1},
          {"tolerant_f1", scores.tolerant_f1},
          {"precision", scores.precision},
          {"recall", scores.recall}};
}

Json setting_json(const MapSetting& setting) {
  const AttributionOptions& options = setting.attribution;
  return {{"layer", options.layer},
          {"baseline", options.baseline == Baseline::kBlack ? "black" : "mean"},
          {"steps", options.steps},
          {"samples", options.samples},
          {"noise", options.noise},
          {"masks", options.masks},
          {"cells", options.cells},
          {"keep", options.keep},
          {"window", options.window},
          {"stride", options.stride},
          {"seed", options.seed},
          {"sign", to_string(setting.sign)},
          {"smoothing", setting.smoothing},
          {"edge_radius", setting.edge_radius},
          {"min_area", setting.min_area},
          {"faint_share", setting.faint_share},
          {"average_views", setting.average_views}};
}

MapSetting setting_from(const Json& json) {
  MapSetting setting;
  AttributionOptions& options = setting.attribution;
  json.at("layer").get_to(options.layer);
  options.baseline = json.at("baseline") == "black" ? Baseline::kBlack : Baseline::kMean;
  json.at("steps").get_to(options.steps);
  json.at("samples").get_to(options.samples);
  json.at("noise").get_to(options.noise);
  json.at("masks").get_to(options.masks);
  json.at("cells").get_to(options.cells);
  json.at("keep").get_to(options.keep);
  json.at("window").get_to(options.window);
  json.at("stride").get_to(options.stride);
  json.at("seed").get_to(options.seed);
  setting.sign = sign_named(json.at("sign").get<std::string>());
  json.at("smoothing").get_to(setting.smoothing);
  setting.edge_radius = json.value("edge_radius", int64_t{0});  // earlier versions had none
  json.at("min_area").get_to(setting.min_area);
  setting.faint_share = json.value("faint_share", 0.0);        // likewise
  setting.average_views = json.value("average_views", false);  // likewise
  return setting;
}

double threshold_of(const Json& scores) {
  const Json& value = scores.at("threshold");
  return value.is_null() ? kUndefined : value.get<double>();
}

std::string randomisation_text(const Comparison& comparison) {
  std::string text = fmt::format(
      "rank correlation with the trained model's map, layers drawn anew from the output "
      "down to this one, {} images\n",
      comparison.randomisation_images);
  std::vector<std::vector<std::string>> rows;
  for (const auto& result : comparison.methods) {
    if (result.randomisation.empty()) continue;
    std::vector<std::string> names{""}, values{to_string(result.method)};
    for (const auto& layer : result.randomisation) {
      names.push_back(layer.layer);
      values.push_back(number(layer.correlation));
    }
    if (rows.empty() || names.size() != rows.back().size()) rows.push_back(names);
    rows.push_back(values);
  }
  return text + table(rows);
}

}  // namespace

std::string to_text(const Comparison& comparison) {
  std::string text = fmt::format(
      "{} defect images with masks of split {}, given the true label; settings and thresholds of "
      "best IoU on {} validation images\n",
      comparison.images, to_string(comparison.split), comparison.validation_images);
  std::vector<std::vector<std::string>> rows{{"method", "IoU on val", "IoU", "IoU per image", "F1",
                                              "F1, 2 px tolerance", "AP", "IoU by Otsu",
                                              "threshold", "Otsu"}};
  std::vector<std::vector<std::string>> settings;
  for (const auto& result : comparison.methods) {
    const char* name = to_string(result.method);
    rows.push_back({name, number(result.validation_iou), number(result.tuned.iou),
                    number(result.tuned.mean_iou), number(result.tuned.f1),
                    number(result.tuned.tolerant_f1), number(result.average_precision),
                    number(result.label_free.iou), number(result.tuned.threshold),
                    number(result.label_free.threshold)});
    settings.push_back({name, describe(result.method, result.setting)});
  }
  text += table(rows) + "chosen settings\n";
  for (const auto& row : settings) text += fmt::format("  {:<20}  {}\n", row[0], row[1]);
  if (comparison.randomisation_images > 0) text += randomisation_text(comparison);
  return text;
}

std::string to_json(const Comparison& comparison) {
  Json methods;
  for (const auto& result : comparison.methods) {
    Json layers = Json::array();
    for (const auto& layer : result.randomisation)
      layers.push_back({{"layer", layer.layer}, {"rank_correlation", layer.correlation}});
    methods[to_string(result.method)] = {{"setting", setting_json(result.setting)},
                                         {"validation_iou", result.validation_iou},
                                         {"tuned", scores_json(result.tuned)},
                                         {"label_free", scores_json(result.label_free)},
                                         {"pixel_average_precision", result.average_precision},
                                         {"randomisation", layers}};
  }
  const Json json{{"split", to_string(comparison.split)},
                  {"images", comparison.images},
                  {"validation_images", comparison.validation_images},
                  {"randomisation_images", comparison.randomisation_images},
                  {"methods", methods}};
  return json.dump(2) + "\n";
}

StoredSetting stored_setting(const std::string& json, AttributionMethod method) {
  try {
    const Json entry = Json::parse(json).at("methods").at(to_string(method));
    return {setting_from(entry.at("setting")), threshold_of(entry.at("tuned")),
            threshold_of(entry.at("label_free"))};
  } catch (const Json::exception& error) {
    fail(ErrorCode::kUsage,
         "no setting of {} to read ({}); give the file of flipside compare "
         "--json",
         to_string(method), error.what());
  }
}

}  // namespace flipside
