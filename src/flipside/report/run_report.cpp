#include "flipside/report/run_report.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cctype>
#include <optional>

#include "flipside/core/error.h"
#include "flipside/core/file.h"
#include "flipside/data/loader.h"
#include "flipside/eval/model_folder.h"
#include "flipside/report/report_parts.h"
#include "flipside/report/report_style.h"

namespace flipside {
namespace {

/// A path as one word of a shell's command line.
std::string shell_word(const std::string& word) {
  const bool is_plain = std::all_of(word.begin(), word.end(), [](unsigned char c) {
    return std::isalnum(c) != 0 || c > 127 || std::string("/._-+=,:@").find(c) != std::string::npos;
  });
  if (is_plain && !word.empty()) return word;
  std::string quoted = "'";
  for (char c : word) quoted += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return quoted + "'";
}

/// The run's folder as it was given.
std::string run_name(const fs::path& folder) { return plain_path(folder).string(); }

/// The runs' names without the folders that all of them lie in.
std::vector<std::string> short_names(const std::vector<std::string>& names) {
  size_t common = names.front().rfind('/') + 1;  // 0 without a folder
  for (const auto& name : names)
    while (common > 0 && (name.compare(0, common, names.front(), 0, common) != 0))
      common = common < 2 ? 0 : names.front().rfind('/', common - 2) + 1;
  std::vector<std::string> shorter;
  for (const auto& name : names) shorter.push_back(name.substr(common));
  return shorter;
}

fs::path data_of(const fs::path& run, const ReportOptions& options) {
  const RunAbout about = read_about(run);
  const fs::path data = options.data.empty() ? about.data : options.data;
  if (fs::exists(data)) return data;
  const std::string wrong =
      options.data.empty() ? fmt::format("{}: its images {} are gone", run.string(), data.string())
                           : fmt::format("{}: no such folder or file", data.string());
  fail(ErrorCode::kData, "{}; name its images with --data DIR", wrong);
}

const char* describe(ModelKind kind) {
  switch (kind) {
    case ModelKind::kClassifier:
      return "ordinary classifier, learned from labels";
    case ModelKind::kSegmenter:
      return "segmenter (U-Net), learned from masks";
    case ModelKind::kCounterfactual:
      break;
  }
  return "classifier with counterfactuals, learned from labels";
}

/// "crack 450, intact 450".
std::string class_counts(const MeasuredRun& run) {
  std::vector<int64_t> counts(run.images.num_classes());
  for (const auto& record : run.images.split(run.results.split)) ++counts[record.label];
  std::vector<std::string> parts;
  for (size_t k = 0; k < counts.size(); ++k)
    parts.push_back(fmt::format("{} {}", run.images.class_names[k], counts[k]));
  return fmt::format("{}", fmt::join(parts, ", "));
}

void write_facts(HtmlWriter& html, const MeasuredRun& run) {
  const Config& config = run.model.config;
  std::vector<std::pair<std::string, std::string>> facts{
      {"model", describe(config.model.kind)},
      {"data", run.data.string()},
      {"images", fmt::format("{} of the {} split ({})", run.results.images,
                             to_string(run.results.split), class_counts(run))},
      {"reference class", run.model.class_names.at(run.model.reference_class) + " (good parts)"},
      {"training", fmt::format("{} steps of {} images, {} px, seed {}", config.train.steps,
                               config.train.batch, config.data.size, config.train.seed)},
      {"version", run.about.version.empty() ? "not known" : "flipside " + run.about.version}};
  html.open("dl", "class=\"facts\"");
  for (const auto& [name, value] : facts) html.element("dt", name).element("dd", value);
  html.close();
  const std::string folder = run_name(run.folder);
  html.element("pre", fmt::format("flipside train {} --out {} --config {}",
                                  shell_word(run.about.data.string()), shell_word(folder),
                                  shell_word(folder + "/config.toml")));
}

void write_config(HtmlWriter& html, const MeasuredRun& run) {
  html.open("details").element("summary", "The resolved configuration");
  html.element("pre", to_toml(run.model.config)).close();
}

MeasuredRun measure(const fs::path& folder, const ReportOptions& options, const Model* judge) {
  MeasuredRun run{folder, read_about(folder), data_of(folder, options), load_model(folder), {}, {},
                  {}};
  run.images = scan_for_model(run.data, run.model);
  keep_pictures(run.images, options.split, run.model.config.data);
  EvaluateOptions evaluation;
  evaluation.split = options.split;
  evaluation.batch = options.batch;
  evaluation.progress = "measuring " + run_name(folder);
  if (run.model.config.model.kind == ModelKind::kCounterfactual) evaluation.judge = judge;
  run.results = evaluate(run.model, run.images, evaluation);
  return run;
}

/// The section of one run; its figures are left in `results`, all else is let go.
std::string run_section(const fs::path& folder, const ReportOptions& options, const Model* judge,
                        size_t number, Results& results) {
  MeasuredRun run = measure(folder, options, judge);
  EvalLoader loader(run.images, options.split, run.model.config.data, options.batch);
  run.scores = score_images(run.model, loader);
  HtmlWriter html;
  html.open("section", fmt::format("id=\"run-{}\"", number));
  html.element("h2", run_name(folder));
  write_facts(html, run);
  write_figures(html, run.results);
  write_pictures(html, run, loader, options.images);
  write_curves(html, run);
  write_config(html, run);
  results = run.results;
  return html.close().str() + "\n";
}

void write_head(HtmlWriter& html, const std::vector<fs::path>& runs, const ReportOptions& options) {
  html.open("header").element("h1", runs.size() == 1 ? "A run, measured" : "Runs, measured");
  html.open("p").text(fmt::format("What the {} split says of ", to_string(options.split)));
  for (size_t i = 0; i < runs.size(); ++i) {
    html.text(i == 0 ? "" : i + 1 == runs.size() ? " and " : ", ");
    html.element("a", run_name(runs[i]), fmt::format("href=\"#run-{}\"", i + 1));
  }
  html.text(".");
  if (!options.judge.empty())
    html.text(fmt::format(" Counterfactuals were also judged by an independent classifier, {}.",
                          run_name(options.judge)));
  html.close();
  if (!options.command.empty()) html.element("pre", options.command);
  html.close().raw("\n");
}

}  // namespace

std::string report_command(const std::vector<fs::path>& runs, const ReportOptions& options,
                           const fs::path& out) {
  std::string command = "flipside report";
  for (const auto& run : runs) command += " " + shell_word(run.string());
  const auto add = [&](const char* flag, const std::string& value) {
    if (!value.empty()) command += fmt::format(" {} {}", flag, shell_word(value));
  };
  const ReportOptions plain;
  add("--data", options.data.string());
  add("--split", options.split == plain.split ? "" : to_string(options.split));
  add("--judge", options.judge.string());
  add("--images", options.images == plain.images ? "" : std::to_string(options.images));
  add("--out", out.string());
  return command;
}

std::string run_report(const std::vector<fs::path>& runs, const ReportOptions& options) {
  if (runs.empty()) fail(ErrorCode::kUsage, "report: no run; name at least one run folder");
  if (options.images < 1 || options.batch < 1)
    fail(ErrorCode::kArgument, "report: images = {}, batch = {}: both must be 1 or more",
         options.images, options.batch);
  // What is wrong with any of them is better found before the work.
  bool any_flips = false;
  for (const auto& run : runs) {
    data_of(run, options);
    any_flips |= load_model(run).config.model.kind == ModelKind::kCounterfactual;
  }
  std::optional<Model> judge;
  if (!options.judge.empty()) judge = load_model(options.judge);
  if (judge && !any_flips)
    fail(ErrorCode::kArgument,
         "judge: only the flips of a counterfactual model can be judged; leave --judge out");

  std::vector<Results> results(runs.size());
  std::vector<std::string> names;
  std::string sections;
  for (size_t i = 0; i < runs.size(); ++i) {
    sections += run_section(runs[i], options, judge ? &*judge : nullptr, i + 1, results[i]);
    names.push_back(run_name(runs[i]));
  }
  HtmlWriter html;
  write_head(html, runs, options);
  html.open("main");
  if (runs.size() > 1) write_comparison(html, short_names(names), results);
  html.raw(sections).close().raw("\n");
  return html_page(fmt::format("flipside: {}", fmt::join(names, ", ")), kReportStyle, html.str());
}

}  // namespace flipside
