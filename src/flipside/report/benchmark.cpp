#include "flipside/report/benchmark.h"

#include <CLI/CLI.hpp>
#include <array>
#include <charconv>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <numeric>
#include <optional>
#include <sstream>

#include "flipside/core/error.h"
#include "flipside/core/file.h"
#include "flipside/core/log.h"
#include "flipside/eval/comparison.h"
#include "flipside/eval/evaluator.h"
#include "flipside/eval/image_scores.h"
#include "flipside/eval/intervals.h"
#include "flipside/eval/text_table.h"
#include "flipside/report/validation.h"
#include "flipside/train/run.h"

namespace flipside {
namespace {

using Json = nlohmann::ordered_json;
using Settings = std::vector<std::pair<std::string, std::string>>;  // key, value

/// The sections of a TOML file, in order.
std::vector<std::pair<std::string, Settings>> read_sections(const fs::path& file) {
  std::vector<CLI::ConfigItem> items;
  try {
    std::istringstream stream(read_file(file));
    items = CLI::ConfigTOML().from_config(stream);
  } catch (const CLI::Error& error) {
    fail(ErrorCode::kConfig, "{}: not TOML: {}", file.string(), error.what());
  }
  std::vector<std::pair<std::string, Settings>> sections;
  for (const auto& item : items) {
    const std::string name = item.parents.empty() ? "" : item.parents.front();
    if (sections.empty() || sections.back().first != name) sections.push_back({name, {}});
    if (item.name == "++" || item.name == "--") continue;  // CLI11's section marks
    if (name.empty() || item.parents.size() > 1)
      fail(ErrorCode::kConfig, "{}: {}: must stand in [benchmark], [common] or a method's section",
           file.string(), item.fullname());
    std::string value;
    for (const auto& part : item.inputs) value += (value.empty() ? "" : ",") + part;
    sections.back().second.emplace_back(item.name, value);
  }
  return sections;
}

/// Puts options of `train`, named without their sections, into `config`.
void apply(const Settings& settings, const fs::path& file, const std::string& section,
           Config& config) {
  for (const auto& [key, value] : settings)
    if (key == "config") load_config(file.parent_path() / value, config);
  auto fields = config_fields(config);
  std::vector<std::string> names{"config"};
  for (const auto& field : fields) names.push_back(field.name);
  for (const auto& [key, value] : settings) {
    if (key == "config") continue;
    const auto same = [&key = key](const Field& field) { return field.name == key; };
    const auto found = std::find_if(fields.begin(), fields.end(), same);
    if (found == fields.end())
      fail(ErrorCode::kConfig, "{}: [{}] has an unknown key {}; did you mean {}?", file.string(),
           section, key, nearest_name(key, names));
    try {
      found->set(value);
    } catch (const Error& error) {
      fail(ErrorCode::kConfig, "{}: [{}] {}", file.string(), section, error.what());
    }
  }
}

Split split_named(const std::string& name, const fs::path& file) {
  for (const Split split : {Split::kTrain, Split::kVal, Split::kTest})
    if (name == to_string(split)) return split;
  fail(ErrorCode::kConfig, "{}: benchmark.split = {}: must be one of train, val, test",
       file.string(), name);
}

int64_t map_count(const std::string& text, const fs::path& file) {
  int64_t count = -1;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), count);
  if (error != std::errc() || end != text.data() + text.size() || count < 0)
    fail(ErrorCode::kConfig, "{}: benchmark.maps = {}: must be a whole number >= 0", file.string(),
         text);
  return count;
}

struct GridRun {
  BenchmarkMethod method;
  fs::path folder;
  bool is_judge = false;
};

/// The judge, where there is one, then every method, seed by seed.
std::vector<GridRun> grid_runs(const Benchmark& benchmark, int64_t seeds, const fs::path& out) {
  std::vector<GridRun> runs;
  if (!benchmark.judge.name.empty())
    runs.push_back({benchmark.judge, out / benchmark.judge.name, /*is_judge=*/true});
  for (int64_t seed = 1; seed <= seeds; ++seed)
    for (BenchmarkMethod method : benchmark.methods) {
      method.config.train.seed = static_cast<uint64_t>(seed);
      runs.push_back({method, out / method.name / ("seed" + std::to_string(seed))});
    }
  return runs;
}

/// Trains a run, goes on with it, or leaves it as it is when it is finished.
void train_run(const GridRun& run, const fs::path& data) {
  info("benchmark: {}", run.folder.string());
  if (!fs::exists(run.folder)) {
    fs::create_directories(run.folder.parent_path());
    return start_run(data, run.folder, run.method.config, make_validation);
  }
  if (read_file(run.folder / "config.toml") != to_toml(run.method.config))
    fail(ErrorCode::kUsage,
         "{}: was trained with another configuration than {} has now; choose another --out, or "
         "remove that run",
         run.folder.string(), run.method.name);
  resume_run(run.folder, make_validation);
}

/// What the intervals rest on: one entry for each image and direction.
Json image_json(const Model& model, const ImageFolder& folder, Split split) {
  EvalLoader loader(folder, split, model.config.data, /*batch=*/32);
  Json images = Json::array();
  for (const ImageScore& score : score_images(model, loader).scores)
    images.push_back({{"label", score.label},
                      {"target", score.target},
                      {"correct", score.predicted == score.label},
                      {"flipped", score.flipped},
                      {"iou", score.iou}});
  return images;
}

/// Every map that the model has beside the others; nothing where there are no masks to go by.
Json maps_json(const Model& model, const ImageFolder& folder, const Benchmark& benchmark) {
  const bool has_maps = model.config.model.kind != ModelKind::kSegmenter;
  const auto has_masks = [&](Split split) {
    const auto& records = folder.split(split);
    return std::any_of(records.begin(), records.end(),
                       [](const ImageRecord& record) { return !record.mask.empty(); });
  };
  if (benchmark.maps == 0 || !has_maps || !has_masks(Split::kVal) || !has_masks(benchmark.split))
    return Json::object();
  CompareOptions options;
  options.split = benchmark.split;
  options.limit = benchmark.maps;
  options.randomisation = true;
  return Json::parse(to_json(compare_methods(model, folder, options)))["methods"];
}

/// The run's measures, from `evaluation.json` where that is up to date.
Json evaluation_of(const fs::path& run, const Benchmark& benchmark, const Model* judge) {
  const fs::path file = run / "evaluation.json", checkpoint = run / "best.safetensors";
  if (fs::exists(file) && fs::last_write_time(file) >= fs::last_write_time(checkpoint))
    return Json::parse(read_file(file));
  const Model model = load_model(run, resolve_device(DeviceChoice::kAuto));
  DataConfig data = model.config.data;
  data.reference_class = model.class_names.at(model.reference_class);
  const ImageFolder folder = scan_image_folder(benchmark.data, data, model.config.train.seed);
  EvaluateOptions options;
  options.split = benchmark.split;
  if (model.config.model.kind == ModelKind::kCounterfactual) options.judge = judge;
  Json json = Json::parse(to_json(evaluate(model, folder, options)));
  json["per_image"] = image_json(model, folder, benchmark.split);
  json["maps"] = maps_json(model, folder, benchmark);
  atomic_write(file, json.dump() + "\n");
  return json;
}

struct Spread {
  double mean = kUndefined, deviation = kUndefined;
};

Spread spread_of(const std::vector<double>& values) {
  if (values.empty()) return {};
  const auto n = static_cast<double>(values.size());
  const double mean = std::accumulate(values.begin(), values.end(), 0.0) / n;
  double squares = 0;
  for (const double value : values) squares += (value - mean) * (value - mean);
  return {mean, values.size() > 1 ? std::sqrt(squares / (n - 1)) : kUndefined};
}

/// Flips and changes are lists: their entries become objects named "crack > intact".
Json with_named_directions(Json evaluation) {
  evaluation.erase("per_image");
  for (const char* list : {"flips", "changes"}) {
    Json named = Json::object();
    for (auto& entry : evaluation[list]) {
      const std::string name =
          entry["from"].get<std::string>() + " > " + entry["to"].get<std::string>();
      named[name] = entry;
    }
    evaluation[list] = named;
  }
  return evaluation;
}

/// Bootstrap over the images of the mean over seeds and images of `value`, which gives NaN for an
/// image that has none.
Json interval_json(const std::vector<Json>& evaluations,
                   const std::function<double(const Json&)>& value) {
  const auto count = static_cast<int64_t>(evaluations.at(0)["per_image"].size());
  std::vector<double> sums(count, 0.0), counts(count, 0.0);
  for (const Json& evaluation : evaluations) {
    const Json& images = evaluation["per_image"];
    if (static_cast<int64_t>(images.size()) != count) return Json();
    for (int64_t i = 0; i < count; ++i) {
      const double one = value(images[i]);
      if (std::isnan(one)) continue;
      sums[i] += one;
      ++counts[i];
    }
  }
  const auto mean = [&](const std::vector<int64_t>& rows) {
    double sum = 0, n = 0;
    for (const int64_t row : rows) {
      sum += sums[row];
      n += counts[row];
    }
    return n > 0 ? sum / n : kUndefined;
  };
  const Interval interval = bootstrap_interval(count, mean);
  if (std::isnan(interval.low)) return Json();
  return {interval.low, interval.high};
}

/// "0.511 ± 0.015", "0.511" for one seed, "-" where there is none.
std::string cell(const Json& summary, const std::string& path) {
  const Json& measures = summary["measures"];
  if (!measures.contains(path)) return "-";
  const Json& entry = measures[path];
  const std::string mean = number(entry["mean"].get<double>());
  return entry["deviation"].is_null() ? mean
                                      : mean + " ± " + number(entry["deviation"].get<double>());
}

/// Rows for what is measured per direction ("/flips/DIRECTION/by_judge") and per map
/// ("/maps/NAME/tuned/iou"): path and heading of what any method has.
std::map<std::string, std::string> rows_by_part(const Json& methods) {
  const std::vector<std::array<std::string, 3>> kinds{{"/flips/", "/by_discriminator", ", D"},
                                                      {"/flips/", "/by_judge", ", judge"},
                                                      {"/maps/", "/tuned/iou", ": IoU, tuned"},
                                                      {"/maps/", "/label_free/iou", ": IoU, Otsu"}};
  std::map<std::string, std::string> rows;
  for (const Json& method : methods)
    for (const auto& item : method["measures"].items()) {
      const std::string& path = item.key();
      for (const auto& [start, end, meaning] : kinds) {
        const auto part = static_cast<int64_t>(path.size() - start.size() - end.size());
        if (part > 0 && path.rfind(start, 0) == 0 && path.rfind(end) == path.size() - end.size())
          rows[path] = path.substr(start.size(), part) + meaning;
      }
    }
  return rows;
}

/// The paths that the table shows, with their headings.
std::vector<std::pair<std::string, std::string>> table_columns(const Json& methods) {
  std::vector<std::pair<std::string, std::string>> columns{
      {"/accuracy", "accuracy"},          {"/label_free/iou", "IoU"},
      {"/tuned/iou", "IoU, tuned"},       {"/label_free/tolerant_f1", "F1, 2 px"},
      {"/pixel_average_precision", "AP"}, {"/darkness_iou", "IoU, darkness"}};
  const auto parts = rows_by_part(methods);
  columns.insert(columns.end(), parts.begin(), parts.end());
  columns.emplace_back("/faithfulness/deletion", "deletion");
  columns.emplace_back("/judge_faithfulness/deletion", "deletion, judge");
  columns.emplace_back("/judge_faithfulness/deletion_wide", "deletion 2 px wider, judge");
  return columns;
}

/// A line per measure, a column per method: it stays narrow however many measures there are.
std::string benchmark_text(const Json& methods) {
  std::vector<std::vector<std::string>> rows{{""}};
  for (const auto& [name, summary] : methods.items()) rows[0].push_back(name);
  for (const auto& [path, heading] : table_columns(methods)) {
    rows.push_back({heading});
    bool any = false;
    for (const Json& summary : methods) {
      rows.back().push_back(cell(summary, path));
      any = any || rows.back().back() != "-";
    }
    if (!any) rows.pop_back();
  }
  return table(rows);
}

}  // namespace

Benchmark load_benchmark(const fs::path& file) {
  if (!fs::exists(file)) fail(ErrorCode::kConfig, "{}: there is no such file", file.string());
  Benchmark benchmark;
  std::string judge;
  Settings common;
  std::vector<std::pair<std::string, Settings>> methods;
  for (auto& [name, settings] : read_sections(file)) {
    if (name == "common") {
      common = settings;
    } else if (name != "benchmark") {
      methods.emplace_back(name, settings);
    } else {
      for (const auto& [key, value] : settings) {
        if (key == "data")
          benchmark.data = fs::absolute(file).parent_path() / value;
        else if (key == "split")
          benchmark.split = split_named(value, file);
        else if (key == "maps")
          benchmark.maps = map_count(value, file);
        else if (key == "judge")
          judge = value;
        else
          fail(ErrorCode::kConfig, "{}: unknown key benchmark.{}; did you mean {}?", file.string(),
               key, nearest_name(key, {"data", "split", "judge", "maps"}));
      }
    }
  }
  if (benchmark.data.empty())
    fail(ErrorCode::kConfig, "{}: lacks benchmark.data, the folder of images", file.string());
  for (const auto& [name, settings] : methods) {
    BenchmarkMethod method{name, {}};
    apply(common, file, "common", method.config);
    apply(settings, file, name, method.config);
    (name == judge ? benchmark.judge : benchmark.methods.emplace_back()) = method;
  }
  if (!judge.empty() && benchmark.judge.name.empty())
    fail(ErrorCode::kConfig, "{}: benchmark.judge = {}: there is no section [{}]", file.string(),
         judge, judge);
  if (benchmark.methods.empty())
    fail(ErrorCode::kConfig, "{}: has no method; add a section such as [flipside]", file.string());
  return benchmark;
}

Json summarise(const std::vector<Json>& evaluations) {
  std::map<std::string, std::vector<double>> values;
  std::vector<std::string> order;
  for (const Json& evaluation : evaluations) {
    const Json flat = with_named_directions(evaluation).flatten();
    for (const auto& [path, value] : flat.items()) {
      if (!value.is_number()) continue;
      if (values[path].empty()) order.push_back(path);
      values[path].push_back(value.get<double>());
    }
  }
  Json measures = Json::object();
  for (const auto& path : order) {
    const Spread spread = spread_of(values[path]);
    measures[path] = {
        {"mean", spread.mean}, {"deviation", spread.deviation}, {"values", values[path]}};
    if (std::isnan(spread.deviation)) measures[path]["deviation"] = nullptr;
  }
  const auto share = [&](const char* key) {
    return interval_json(evaluations, [key](const Json& image) { return image[key] ? 1.0 : 0.0; });
  };
  const auto iou = [](const Json& image) {
    return image["iou"].is_number() ? image["iou"].get<double>() : kUndefined;
  };
  return {{"seeds", evaluations.size()},
          {"measures", measures},
          {"intervals",
           {{"accuracy", share("correct")},
            {"flip_rate", share("flipped")},
            {"mean_iou", interval_json(evaluations, iou)}}}};
}

void run_benchmark(const Benchmark& benchmark, int64_t seeds, const fs::path& out,
                   const Shard& shard) {
  const std::vector<GridRun> runs = grid_runs(benchmark, seeds, out);
  for (size_t place = 0; place < runs.size(); ++place)
    if (shard.has(static_cast<int64_t>(place))) train_run(runs[place], benchmark.data);
  std::optional<Model> judge;
  if (const GridRun& first = runs.front(); first.is_judge) {
    if (!shard.has(0)) train_run(first, benchmark.data);  // most likely finished by its shard
    judge = load_model(first.folder, resolve_device(DeviceChoice::kAuto));
  }
  std::map<std::string, std::vector<Json>> evaluations;
  for (size_t place = 0; place < runs.size(); ++place)
    if (shard.has(static_cast<int64_t>(place)) && !runs[place].is_judge)
      evaluations[runs[place].method.name].push_back(
          evaluation_of(runs[place].folder, benchmark, judge ? &*judge : nullptr));
  if (!shard.is_whole()) return;
  Json methods = Json::object();
  for (const auto& method : benchmark.methods)
    methods[method.name] = summarise(evaluations.at(method.name));
  const Json json{{"data", benchmark.data.string()},
                  {"split", to_string(benchmark.split)},
                  {"methods", methods}};
  atomic_write(out / "benchmark.json", json.dump(2) + "\n");
  atomic_write(out / "benchmark.txt", benchmark_text(methods));
}

}  // namespace flipside
