#include "flipside/report/attack_files.h"

#include <fmt/format.h>

#include <algorithm>

#include "flipside/report/plots.h"

namespace flipside {

std::string robustness_svg(const Robustness& victim, Norm norm) {
  const double unit = norm == Norm::kLinf ? 255.0 : 1.0;
  Plot plot;
  plot.title = victim.name;
  plot.x_label = norm == Norm::kLinf ? "eps (L-inf, 1/255)" : "eps (L2)";
  plot.y_label = victim.rejects ? "right or rejected" : "accuracy";
  const auto add = [&](Curve& curve, const RobustnessScores& s) {
    const Interval band = victim.rejects ? s.defended_interval : s.accuracy_interval;
    curve.x.push_back(s.eps * unit);
    curve.y.push_back(victim.rejects ? s.defended : s.accuracy);
    curve.low.push_back(band.low);
    curve.high.push_back(band.high);
  };
  for (const auto& s : victim.scores) {
    if (s.eps == 0) continue;
    const std::string name = s.alone || s.attack == kWorstCase ? s.attack : "after " + s.attack;
    auto found = std::find_if(plot.curves.begin(), plot.curves.end(),
                              [&](const Curve& curve) { return curve.name == name; });
    if (found == plot.curves.end()) {
      plot.curves.push_back({name, {}, {}, {}, {}});
      found = plot.curves.end() - 1;
      add(*found, victim.scores.front());  // every curve begins without attack
    }
    add(*found, s);
  }
  return plot_svg(plot);
}

}  // namespace flipside
