#include "flipside/report/benchmark_output.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <vector>

#include "flipside/core/finding.h"
#include "flipside/eval/text_table.h"
#include "flipside/report/plots.h"

namespace flipside {
namespace {

using Json = nlohmann::ordered_json;

/// One line of the table: a measure by its path, its heading and how it is written.
struct Row {
  std::string path, heading;
  int digits = 3;
};

/// "0.511 ± 0.015", "0.511" for one seed, "-" where there is none.
std::string cell(const Json& summary, const Row& row) {
  const Json& measures = summary["measures"];
  if (!measures.contains(row.path)) return "-";
  const Json& entry = measures[row.path];
  const std::string mean = number(entry["mean"].get<double>(), row.digits);
  if (entry["deviation"].is_null()) return mean;
  return mean + " ± " + number(entry["deviation"].get<double>(), row.digits);
}

/// What stands between `start` and `end` in a path that begins and ends with them.
std::optional<std::string> between(const std::string& path, const std::string& start,
                                   const std::string& end) {
  if (path.size() <= start.size() + end.size() || path.rfind(start, 0) != 0 ||
      path.compare(path.size() - end.size(), end.size(), end) != 0)
    return std::nullopt;
  return path.substr(start.size(), path.size() - start.size() - end.size());
}

/// Measures of the same kind, such as "/flips/DIRECTION/by_judge", and their headings.
struct RowKind {
  std::string start, end;      ///< of the path
  std::string before, behind;  ///< the path's middle in the heading
  int digits = 3;
};
const RowKind kRowKinds[] = {
    {"/flips/", "/by_discriminator", "", ", D"},
    {"/flips/", "/by_judge", "", ", judge"},
    {"/maps/", "/tuned/iou", "", ": IoU, tuned"},
    {"/maps/", "/label_free/iou", "", ": IoU, Otsu"},
    {"/robustness/classes/", "/accuracy", "accuracy, worst case at ", "/255"},
    {"/robustness/classes/", "/macro_f1", "macro F1, worst case at ", "/255"},
    {"/robustness/head/", "/accuracy", "head, worst case at ", "/255"},
    {"/doubt/scores/", "/aurc", "AURC, ", "", /*digits=*/5},
    {"/doubt/strange/attacked/scores/", "/auroc", "attacked: AUROC, ", ""},
    {"/doubt/strange/attacked, adaptive/scores/", "/auroc", "attacked, adaptive: AUROC, ", ""},
    {"/doubt/strange/attacked, all views/scores/", "/auroc_wrong",
     "attacked, all views: AUROC of wrong answers, ", ""},
};

/// The rows of these kinds that any method has, by path.
std::map<std::string, Row> rows_by_kind(const Json& methods) {
  std::map<std::string, Row> rows;
  for (const Json& method : methods)
    for (const auto& item : method["measures"].items()) {
      const std::string& path = item.key();
      for (const auto& kind : kRowKinds)
        if (const auto middle = between(path, kind.start, kind.end))
          rows[path] = {path, kind.before + *middle + kind.behind, kind.digits};
    }
  return rows;
}

std::vector<Row> table_rows(const Json& methods) {
  std::vector<Row> rows{{"/accuracy", "accuracy"},          {"/label_free/iou", "IoU"},
                        {"/tuned/iou", "IoU, tuned"},       {"/label_free/tolerant_f1", "F1, 2 px"},
                        {"/pixel_average_precision", "AP"}, {"/darkness_iou", "IoU, darkness"}};
  for (const auto& [path, row] : rows_by_kind(methods)) rows.push_back(row);
  rows.push_back({"/faithfulness/deletion", "deletion"});
  rows.push_back({"/judge_faithfulness/deletion", "deletion, judge"});
  rows.push_back({"/judge_faithfulness/deletion_wide", "deletion 2 px wider, judge"});
  rows.push_back({"/true_mask_faithfulness/deletion", "deletion by the true masks"});
  rows.push_back({"/exact_faithfulness/deletion", "deletion by the truth"});
  rows.push_back({"/robustness/classes/warnings", "warnings of the attacks"});
  return rows;
}

/// "coin, seed 2: masks are worse than ...", a line for every warning; the empty text without any.
std::string warning_text(const Json& methods) {
  std::string text;
  for (const auto& [name, summary] : methods.items())
    for (size_t i = 0; i < summary["findings"].size(); ++i)
      for (const Json& finding : summary["findings"][i])
        if (finding["severity"] == to_string(Finding::Severity::kWarning))
          text += fmt::format("{}, seed {}: {}\n", name, i + 1, finding["what"].get<std::string>());
  if (text.empty()) return text;
  return "\nwarnings (flipside evaluate tells the remedies):\n" + text;
}

/// The worst case over the bounds, and a deviation to each side where there are more seeds.
Curve robustness_curve(const std::string& name, const Json& measures, const std::string& measure) {
  std::map<double, const Json*> by_bound;
  for (const auto& item : measures.items())
    if (const auto bound = between(item.key(), "/robustness/classes/", "/" + measure))
      by_bound[std::stod(*bound)] = &item.value();
  Curve curve{name, {}, {}, {}, {}};
  for (const auto& [bound, entry] : by_bound) {
    const double mean = (*entry)["mean"].get<double>();
    curve.x.push_back(bound);
    curve.y.push_back(mean);
    if ((*entry)["deviation"].is_null()) continue;
    const double deviation = (*entry)["deviation"].get<double>();
    curve.low.push_back(std::max(0.0, mean - deviation));
    curve.high.push_back(std::min(1.0, mean + deviation));
  }
  return curve;
}

}  // namespace

std::string benchmark_text(const Json& methods) {
  std::vector<std::vector<std::string>> rows{{""}};
  for (const auto& [name, summary] : methods.items()) rows[0].push_back(name);
  for (const Row& row : table_rows(methods)) {
    rows.push_back({row.heading});
    bool any = false;
    for (const Json& summary : methods) {
      rows.back().push_back(cell(summary, row));
      any = any || rows.back().back() != "-";
    }
    if (!any) rows.pop_back();
  }
  return table(rows) + warning_text(methods);
}

std::string benchmark_curves(const Json& methods, const std::string& measure,
                             const std::string& label) {
  Plot plot;
  plot.title = "Worst case over the attacks";
  plot.x_label = "eps (L-inf, 1/255)";
  plot.y_label = label;
  for (const auto& [name, summary] : methods.items()) {
    Curve curve = robustness_curve(name, summary["measures"], measure);
    if (!curve.x.empty()) plot.curves.push_back(std::move(curve));
  }
  return plot_svg(plot);
}

}  // namespace flipside
