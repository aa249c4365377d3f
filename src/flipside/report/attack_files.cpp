#include "flipside/report/attack_files.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "flipside/data/image_io.h"
#include "flipside/report/pictures.h"
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

void draw_attacked(const fs::path& file, const Victim& victim, const Tensor& images,
                   const Tensor& labels, const std::vector<std::string>& class_names,
                   const SuiteOptions& options) {
  const auto name_of = [&](int64_t answer) {
    return answer < static_cast<int64_t>(class_names.size()) ? class_names[answer] : "rejected";
  };
  const int64_t n = images.size(0);
  std::vector<int64_t> numbers(n);
  std::iota(numbers.begin(), numbers.end(), int64_t{0});
  std::vector<std::vector<cv::Mat>> rows(n);
  std::vector<std::string> captions{"image"}, row_labels(n);
  const Tensor clean = victim.answers(images);
  for (int64_t i = 0; i < n; ++i) {
    rows[i].push_back(to_image(images[i]));
    row_labels[i] = name_of(labels[i].item<int64_t>()) + ": " + name_of(clean[i].item<int64_t>());
  }
  const double unit = options.norm == Norm::kLinf ? 255.0 : 1.0;
  for (double eps : options.eps) {
    const Tensor attacked =
        run_attack("PGD-20", victim, {options.norm, eps}, images, labels, numbers, options);
    const Tensor answers = victim.answers(attacked);
    const Tensor change = attacked - images;
    for (int64_t i = 0; i < n; ++i) {
      // The largest change of the image becomes half of the range, around gray.
      const double largest = std::max(change[i].abs().max().item<double>(), 1e-6);
      rows[i].push_back(to_image(attacked[i]));
      rows[i].push_back(to_image(0.5 + 0.5 * change[i] / largest));
      row_labels[i] += " > " + name_of(answers[i].item<int64_t>());
    }
    captions.push_back(fmt::format("eps {:.3g}", eps * unit));
    captions.push_back("change, enlarged");
  }
  write_image(file, picture_grid(rows, captions, row_labels));
}

}  // namespace flipside
