#include "flipside/report/doubt_plot.h"

#include <algorithm>

#include "flipside/report/plots.h"

namespace flipside {

std::string risk_coverage_svg(const DoubtResults& results) {
  Plot plot;
  plot.title = "Wrong answers among those given, least doubtful first";
  plot.x_label = "coverage (share of images answered)";
  plot.y_label = "risk";
  plot.y_high = 0.01;
  for (const auto& score : results.scores) {
    Curve curve{score.score, {}, {}, {}, {}};
    const auto n = static_cast<double>(score.risks.size());
    for (size_t i = 0; i < score.risks.size(); ++i) {
      curve.x.push_back(static_cast<double>(i + 1) / n);
      curve.y.push_back(score.risks[i]);
      // The first few images decide nothing, and would stretch the axis.
      if (static_cast<double>(i + 1) >= 0.05 * n)
        plot.y_high = std::max(plot.y_high, score.risks[i]);
    }
    plot.curves.push_back(std::move(curve));
  }
  return plot_svg(plot);
}

}  // namespace flipside
