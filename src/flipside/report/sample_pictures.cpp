#include "flipside/report/sample_pictures.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "flipside/data/image_io.h"
#include "flipside/report/pictures.h"

namespace flipside {

void draw_counterfactuals(const Explanation& e, const Batch& batch,
                          const std::vector<std::string>& class_names, const fs::path& file) {
  std::vector<std::vector<cv::Mat>> rows;
  std::vector<std::string> row_labels;
  for (int64_t i = 0; i < batch.images.size(0); ++i) {
    rows.push_back({to_image(batch.images[i]), to_image(e.counterfactual[i]),
                    heatmap(e.saliency[i]),
                    overlay(to_image(batch.images[i]), to_mask_image(e.mask[i])),
                    overlay(to_image(batch.images[i]), to_mask_image(batch.masks[i]))});
    row_labels.push_back(class_names[batch.labels[i].item<int64_t>()]);
  }
  write_image(
      file, picture_grid(rows, {"input", "counterfactual", "change", "mask", "truth"}, row_labels));
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
