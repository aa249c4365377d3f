#include <algorithm>
#include <cmath>
#include <map>

#include "flipside/report/plots.h"
#include "flipside/report/report_parts.h"
#include "flipside/train/run_log.h"

namespace flipside {
namespace {

/// The names of losses (docs/equations.md) and scores in words.
std::string in_words(const std::string& name) {
  static const std::map<std::string, std::string> kWords{{"real", "classification alone (warm-up)"},
                                                         {"D", "discriminator"},
                                                         {"adv", "adversarial"},
                                                         {"mask", "the mask alone"},
                                                         {"id", "identity"},
                                                         {"prox", "proximity"},
                                                         {"cls", "class head of the generator"},
                                                         {"cyc", "cycle"},
                                                         {"tv", "total variation of the change"},
                                                         {"sparse", "sparsity of the change"},
                                                         {"flip_rate", "flip rate"},
                                                         {"false_marks", "false marks"},
                                                         {"iou", "mask IoU"}};
  const auto found = kWords.find(name);
  return found == kWords.end() ? name : found->second;
}

/// One curve for each value of the log's lines of `kind`, over the steps.
std::vector<Curve> log_curves(const std::vector<LogLine>& lines, const std::string& kind) {
  std::vector<Curve> curves;
  for (const auto& line : lines) {
    if (line.kind != kind) continue;
    for (const auto& [name, value] : line.values) {
      const std::string& wanted = name;
      auto curve = std::find_if(curves.begin(), curves.end(),
                                [&](const Curve& c) { return c.name == wanted; });
      if (curve == curves.end()) {
        curves.push_back({name, {}, {}, {}, {}});
        curve = curves.end() - 1;
      }
      curve->x.push_back(static_cast<double>(line.step));
      curve->y.push_back(value);
    }
  }
  return curves;
}

/// Each loss has a scale of its own: they differ by factors of a hundred.
void write_losses(HtmlWriter& html, const std::vector<LogLine>& lines) {
  for (auto& curve : log_curves(lines, "train")) {
    if (curve.name == "images_per_second") continue;
    Plot plot{in_words(curve.name), "step", "", 0, 0, {}};
    for (double value : curve.y) {
      if (!std::isfinite(value)) continue;
      plot.y_low = std::min(plot.y_low, value);
      plot.y_high = std::max(plot.y_high, 1.05 * value);
    }
    plot.curves.push_back(std::move(curve));
    html.raw(plot_figure(plot));
  }
}

void write_validation(HtmlWriter& html, const std::vector<LogLine>& lines) {
  Plot plot{"validation", "step", "", 0, 1, log_curves(lines, "val")};
  for (auto& curve : plot.curves) curve.name = in_words(curve.name);
  if (!plot.curves.empty()) html.raw(plot_figure(plot));
}

/// A vertical line at a threshold.
Curve mark(const std::string& name, double threshold, double height) {
  return {name, {threshold, threshold}, {0, height}, {}, {}};
}

void write_thresholds(HtmlWriter& html, const MeasuredRun& run) {
  constexpr double kShownShare = 0.02;  // of the best IoU: below, the curve has nothing to say
  const SaliencyCurve& map = run.scores.curve;
  Curve curve{"IoU of the map", {}, {}, {}, {}};
  double best = 0;
  for (int edge = 1; edge <= SaliencyCurve::kBins; edge += 4) {
    const double threshold = static_cast<double>(edge) / SaliencyCurve::kBins;
    const double iou = map.iou_at(threshold);
    best = std::max(best, iou);
    if (iou < kShownShare * best) break;
    curve.x.push_back(threshold);
    curve.y.push_back(iou);
  }
  Plot plot{"mask IoU over threshold", "threshold", "", 0, std::max(0.1, 1.1 * best), {curve}};
  const auto add = [&](const char* name, const std::optional<MaskScores>& scores) {
    if (scores) plot.curves.push_back(mark(name, scores->threshold, plot.y_high));
  };
  add("label-free threshold", run.results.label_free);
  add("fixed threshold", run.results.fixed);
  add("tuned threshold", run.results.tuned);
  html.raw(plot_figure(plot));
}

void write_precision_recall(HtmlWriter& html, const MeasuredRun& run) {
  Plot plot{"precision over recall, pixels", "recall", "", 0, 1, {{"", {}, {}, {}, {}}}};
  for (const auto& point : run.scores.curve.points()) {
    plot.curves[0].x.push_back(point.recall);
    plot.curves[0].y.push_back(point.precision);
  }
  html.raw(plot_figure(plot));
}

}  // namespace

void write_curves(HtmlWriter& html, const MeasuredRun& run) {
  const auto lines = RunLog(run.folder / "metrics.jsonl").read();
  if (lines.empty() && run.results.mask_images == 0) return;
  html.element("h3", "Curves");
  html.open("div", "class=\"plots\"").raw("\n");
  if (run.results.mask_images > 0) {
    write_thresholds(html, run);
    write_precision_recall(html, run);
  }
  write_validation(html, lines);
  write_losses(html, lines);
  html.close().raw("\n");
}

}  // namespace flipside
