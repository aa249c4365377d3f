#include "flipside/report/benchmark.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <numeric>
#include <optional>

#include "flipside/core/device.h"
#include "flipside/core/error.h"
#include "flipside/core/file.h"
#include "flipside/core/log.h"
#include "flipside/data/hash.h"
#include "flipside/data/loader.h"
#include "flipside/eval/comparison.h"
#include "flipside/eval/doubt.h"
#include "flipside/eval/evaluator.h"
#include "flipside/eval/image_scores.h"
#include "flipside/eval/intervals.h"
#include "flipside/eval/model_folder.h"
#include "flipside/eval/robustness.h"
#include "flipside/report/benchmark_output.h"
#include "flipside/report/validation.h"
#include "flipside/train/run.h"

namespace flipside {
namespace {

using Json = nlohmann::ordered_json;

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
  // Read and written again: a run made before an option existed has that option's default.
  Config stored;
  load_config(run.folder / "config.toml", stored);
  if (to_toml(stored) != to_toml(run.method.config))
    fail(ErrorCode::kUsage,
         "{}: was trained with another configuration than {} has now; choose another --out, or "
         "remove that run",
         run.folder.string(), run.method.name);
  const fs::path before = read_about(run.folder).data;
  std::error_code error;
  if (!fs::equivalent(before, data, error))
    fail(ErrorCode::kUsage,
         "{}: was trained on {}, and the benchmark's data is {} now; choose another --out, or "
         "remove that run",
         run.folder.string(), before.string(), data.string());
  resume_run(run.folder, make_validation);
}

/// What the intervals rest on: one entry for each image and direction, by image.
Json image_json(const Model& model, const ImageFolder& folder, Split split) {
  EvalLoader loader(folder, split, model.config.data, /*batch=*/32);
  Json images = Json::array();
  for (const ImageScore& score : score_images(model, loader).scores)
    images.push_back({{"image", score.index},
                      {"label", score.label},
                      {"target", score.target},
                      {"correct", score.predicted == score.label},
                      {"flipped", score.flipped},
                      {"iou", score.iou}});
  return images;
}

/// On how many images the maps of a method are compared.
int64_t num_maps(const Benchmark& benchmark, const std::string& method) {
  const auto& chosen = benchmark.maps_of;
  const bool is_chosen =
      chosen.empty() || std::find(chosen.begin(), chosen.end(), method) != chosen.end();
  return is_chosen ? benchmark.maps : 0;
}

/// Every map that the model has beside the others, on `count` images; nothing where there are no
/// masks to go by.
Json maps_json(const Model& model, const ImageFolder& folder, const Benchmark& benchmark,
               int64_t count) {
  const bool has_maps = model.config.model.kind != ModelKind::kSegmenter;
  const auto has_masks = [&](Split split) {
    const auto& records = folder.split(split);
    return std::any_of(records.begin(), records.end(),
                       [](const ImageRecord& record) { return !record.mask.empty(); });
  };
  if (count == 0 || !has_maps || !has_masks(Split::kVal) || !has_masks(benchmark.split))
    return Json::object();
  CompareOptions options;
  options.split = benchmark.split;
  options.limit = count;
  options.randomisation = true;
  return Json::parse(to_json(compare_methods(model, folder, options)))["methods"];
}

/// The worst case over the suite at each bound, of what answers and of the generator's head.
Json robustness_json(const Model& model, const ImageFolder& folder, const Benchmark& benchmark) {
  Json victims = Json::object();
  if (benchmark.attacked == 0 || model.config.model.kind == ModelKind::kSegmenter) return victims;
  const Batch images =
      spread_images(folder, model.config.data, benchmark.split, benchmark.attacked);
  const SuiteOptions& options = benchmark.attacks;
  const auto add = [&](const std::string& name, const Victim& victim) {
    const SuiteRecord record =
        attack_with_progress("attacks, " + name, victim, victim, images, options);
    const Robustness found = summarise_with_warnings(record, name, victim, images, options);
    Json& json = victims[name];
    for (const auto& scores : found.scores) {
      const bool clean = scores.eps == 0;
      if (!clean && scores.attack != kWorstCase) continue;
      const auto bound = std::lround(scores.eps * 255);
      json[std::to_string(bound)] = {{"accuracy", scores.accuracy}, {"macro_f1", scores.macro_f1}};
    }
    json["warnings"] = found.warnings.size();
    for (const auto& warning : found.warnings) json["warning_texts"].push_back(warning.text);
  };
  add("classes", class_victim(model));
  if (model.config.model.kind == ModelKind::kCounterfactual) add("head", head_victim(model));
  return victims;
}

/// `measure_doubt`, its lists as objects by name.
Json doubt_json(const Model& model, const ImageFolder& folder, const Benchmark& benchmark) {
  if (!benchmark.doubt || model.config.model.kind == ModelKind::kSegmenter) return Json::object();
  DoubtOptions options;
  options.split = benchmark.split;
  Json json = Json::parse(to_json(measure_doubt(model, folder, options)));
  const auto by = [](const char* key, const Json& list) {
    Json named = Json::object();
    for (const Json& entry : list) named[entry[key].get<std::string>()] = entry;
    return named;
  };
  json["scores"] = by("score", json["scores"]);
  for (Json& kind : json["strange"]) kind["scores"] = by("score", kind["scores"]);
  json["strange"] = by("name", json["strange"]);
  return json;
}

fs::path checkpoint_in(const fs::path& run) { return run / "best.safetensors"; }

/// Which model a run has come to.
uint64_t hash_of_checkpoint(const fs::path& run) {
  Hash hash;
  for (const char byte : read_file(checkpoint_in(run))) hash.mix(static_cast<uint8_t>(byte));
  return hash.value();
}

/// The judge of a benchmark that has one.
struct Judge {
  Model model;
  uint64_t hash = 0;  // of its checkpoint
};

/// The run's measures, from `evaluation.json` where that is up to date.
Json evaluation_of(const GridRun& grid_run, const Benchmark& benchmark, const Judge* judge) {
  const fs::path& run = grid_run.folder;
  const int64_t maps = num_maps(benchmark, grid_run.method.name);
  const fs::path file = run / "evaluation.json";
  Json asked{{"split", to_string(benchmark.split)}, {"checkpoint", hash_of_checkpoint(run)},
             {"judge", benchmark.judge.name},       {"judge_checkpoint", judge ? judge->hash : 0},
             {"version", FLIPSIDE_VERSION},         {"maps", maps},
             {"attacked", benchmark.attacked},      {"doubt", benchmark.doubt}};
  if (benchmark.attacked > 0) {
    asked["attack_steps"] = benchmark.attacks.steps;
    asked["attack_queries"] = benchmark.attacks.queries;
  }
  if (fs::exists(file)) {
    Json stored = Json::parse(read_file(file));
    if (stored.value("asked", Json()) == asked) return stored;
  }
  info("benchmark: measures {}", run.string());
  // Measuring shares the machine as training does, also where the training was done before.
  configure_runtime(static_cast<int>(grid_run.method.config.train.threads));
  const Model model = load_model(run, resolve_device(DeviceChoice::kAuto));
  ImageFolder folder = scan_for_model(benchmark.data, model);
  for (const Split split : {Split::kVal, benchmark.split})
    keep_pictures(folder, split, model.config.data);
  EvaluateOptions options;
  options.split = benchmark.split;
  options.progress = "evaluate";
  if (model.config.model.kind == ModelKind::kCounterfactual && judge) options.judge = &judge->model;
  Json json = Json::parse(to_json(evaluate(model, folder, options)));
  json["per_image"] = image_json(model, folder, benchmark.split);
  json["maps"] = maps_json(model, folder, benchmark, maps);
  json["robustness"] = robustness_json(model, folder, benchmark);
  json["doubt"] = doubt_json(model, folder, benchmark);
  json["asked"] = asked;
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
  evaluation.erase("asked");
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

/// The image of each entry, counted from 0; those of one image come one after the other.
std::vector<int64_t> images_of(const Json& entries) {
  std::vector<int64_t> images;
  for (size_t i = 0; i < entries.size(); ++i) {
    const bool same = i > 0 && entries[i]["image"] == entries[i - 1]["image"];
    images.push_back(images.empty() ? 0 : images.back() + !same);
  }
  return images;
}

/// What counts of an image that is turned into several classes.
enum class Entries { kFirst, kAll };

/// Bootstrap over the images, each with all of its entries, of the mean over seeds and entries of
/// `value`, which gives NaN for an entry that has none.
Json interval_json(const std::vector<Json>& evaluations, Entries which,
                   const std::function<double(const Json&)>& value) {
  const auto images = images_of(evaluations.at(0)["per_image"]);
  const int64_t count = images.empty() ? 0 : images.back() + 1;
  std::vector<double> sums(count, 0.0), counts(count, 0.0);
  for (const Json& evaluation : evaluations) {
    const Json& entries = evaluation["per_image"];
    if (images_of(entries) != images) return Json();
    for (size_t i = 0; i < entries.size(); ++i) {
      const bool is_first = i == 0 || images[i] != images[i - 1];
      const double one = value(entries[i]);
      if (std::isnan(one) || (which == Entries::kFirst && !is_first)) continue;
      sums[images[i]] += one;
      ++counts[images[i]];
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

/// The judge, trained first where it is not yet. Shards take turns: the second one to come finds it
/// finished.
Judge ready_judge(const GridRun& run, const fs::path& data) {
  make_folder(run.folder.parent_path());
  const FolderLock turn(run.folder.parent_path(), FolderLock::WhenHeld::kWait);
  train_run(run, data);
  return {load_model(run.folder, resolve_device(DeviceChoice::kAuto)),
          hash_of_checkpoint(run.folder)};
}

/// Over the seeds that are done, the same number of every method.
void write_tables(const Benchmark& benchmark,
                  const std::map<std::string, std::vector<Json>>& evaluations,
                  const fs::path& out) {
  Json methods = Json::object();
  for (const auto& method : benchmark.methods)
    methods[method.name] = summarise(evaluations.at(method.name));
  const Json json{{"data", benchmark.data.string()},
                  {"split", to_string(benchmark.split)},
                  {"methods", methods}};
  atomic_write(out / "benchmark.json", json.dump(2) + "\n");
  atomic_write(out / "benchmark.txt", benchmark_text(methods));
  if (benchmark.attacked == 0) return;
  atomic_write(out / "robustness.svg", benchmark_curves(methods, "accuracy", "accuracy"));
  atomic_write(out / "robustness_f1.svg", benchmark_curves(methods, "macro_f1", "macro F1"));
}

}  // namespace

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
  const auto share = [&](const char* key, Entries which) {
    return interval_json(evaluations, which,
                         [key](const Json& entry) { return entry[key] ? 1.0 : 0.0; });
  };
  const auto iou = [](const Json& entry) {
    return entry["iou"].is_number() ? entry["iou"].get<double>() : kUndefined;
  };
  Json findings = Json::array();
  for (const Json& evaluation : evaluations)
    findings.push_back(evaluation.value("findings", Json::array()));
  return {{"seeds", evaluations.size()},
          {"measures", measures},
          {"findings", findings},
          {"intervals",
           {{"accuracy", share("correct", Entries::kFirst)},
            {"flip_rate", share("flipped", Entries::kAll)},
            {"mean_iou", interval_json(evaluations, Entries::kAll, iou)}}}};
}

void run_benchmark(const Benchmark& benchmark, int64_t seeds, const fs::path& out,
                   const Shard& shard) {
  const std::vector<GridRun> runs = grid_runs(benchmark, seeds, out);
  const bool judged = runs.front().is_judge;
  std::optional<Judge> judge;
  std::map<std::string, std::vector<Json>> evaluations;
  for (size_t place = 0; place < runs.size(); ++place) {
    if (!shard.has(static_cast<int64_t>(place))) continue;
    const GridRun& run = runs[place];
    if (!run.is_judge) train_run(run, benchmark.data);
    if (judged && !judge) judge = ready_judge(runs.front(), benchmark.data);
    if (run.is_judge) continue;
    const std::string& name = run.method.name;
    evaluations[name].push_back(evaluation_of(run, benchmark, judge ? &*judge : nullptr));
    const bool seed_is_done = name == benchmark.methods.back().name;
    if (shard.is_whole() && seed_is_done) write_tables(benchmark, evaluations, out);
  }
}

}  // namespace flipside
