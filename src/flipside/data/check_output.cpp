#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "flipside/data/check.h"

namespace flipside {
namespace {

constexpr size_t kSizesShown = 5;

/// "256x256 (120), 300x200 (3)", the most frequent first.
std::string frequent_sizes(const std::map<std::string, int64_t>& sizes) {
  std::vector<std::pair<std::string, int64_t>> sorted(sizes.begin(), sizes.end());
  std::stable_sort(sorted.begin(), sorted.end(),
                   [](const auto& a, const auto& b) { return a.second > b.second; });
  std::string text;
  for (size_t i = 0; i < std::min(sorted.size(), kSizesShown); ++i)
    text += fmt::format("{}{} ({})", i > 0 ? ", " : "", sorted[i].first, sorted[i].second);
  if (sorted.size() > kSizesShown)
    text += fmt::format(" and {} other sizes", sorted.size() - kSizesShown);
  return text;
}

std::string count_table(const DataReport& report) {
  size_t width = 5;
  for (const auto& name : report.folder.class_names) width = std::max(width, name.size());
  std::string text = fmt::format("{:<{}}", "class", width);
  for (Split split : kSplits) text += fmt::format("{:>9}{:>8}", to_string(split), "masks");
  text += "\n";
  for (int64_t label = 0; label < report.folder.num_classes(); ++label) {
    text += fmt::format("{:<{}}", report.folder.class_names[label], width);
    for (int split = 0; split < 3; ++split)
      text += fmt::format("{:>9}{:>8}", report.count[split][label], report.masks[split][label]);
    text += "\n";
  }
  return text;
}

}  // namespace

std::string to_text(const DataReport& report) {
  const ImageFolder& folder = report.folder;
  std::string text = fmt::format("{}\n\n{}\n", folder.root.string(), count_table(report));
  text += fmt::format("splits           {}\n", folder.has_splits ? "folders train/, val/, test/"
                                                                 : "taken by chance, seeded");
  text += fmt::format("sizes            {}\n", frequent_sizes(report.sizes));
  text += fmt::format("reference class  {}: {}\n", folder.class_names[folder.reference_class],
                      folder.reference_reason);
  return text + (report.findings.empty() ? "\nno problems found\n" : to_text(report.findings));
}

std::string to_json(const DataReport& report) {
  using json = nlohmann::ordered_json;
  const ImageFolder& folder = report.folder;
  json result{{"root", folder.root.string()},
              {"classes", folder.class_names},
              {"reference_class", folder.class_names[folder.reference_class]},
              {"reference_reason", folder.reference_reason},
              {"has_splits", folder.has_splits},
              {"sizes", report.sizes},
              {"has_errors", report.has_errors()},
              {"findings", json::parse(to_json(report.findings))}};
  for (Split split : kSplits)
    for (int64_t label = 0; label < folder.num_classes(); ++label) {
      const auto& name = folder.class_names[label];
      const int s = static_cast<int>(split);
      result["count"][to_string(split)][name] = report.count[s][label];
      result["masks"][to_string(split)][name] = report.masks[s][label];
    }
  // File names need not be UTF-8; JSON must be.
  return result.dump(/*indent=*/2, ' ', /*ensure_ascii=*/false, json::error_handler_t::replace);
}

}  // namespace flipside
