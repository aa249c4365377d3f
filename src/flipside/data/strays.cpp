#include "flipside/data/strays.h"

#include <set>

#include "flipside/data/dataset.h"

namespace flipside {
namespace {

constexpr const char* kCompanionFolders[] = {"masks", "ground_truth", "counterfactuals"};

bool is_passed_over(const fs::path& folder) {
  const std::string name = folder.filename().string();
  for (const char* companions : kCompanionFolders)
    if (name == companions) return true;
  return name.front() == '.';
}

/// Masks and counterfactuals in `base` that are not in `used`.
void find_companions(const fs::path& base, const std::set<fs::path>& used, Strays& strays) {
  for (const char* kind : kCompanionFolders)
    if (fs::is_directory(base / kind))
      for (const auto& path : find_images(base / kind))
        if (used.count(path) == 0) strays.companions.push_back(path);
}

/// Images beside the class folders of `base`, and other files within.
void look_through_classes(const fs::path& base, Strays& strays) {
  for (const auto& entry : fs::directory_iterator(base)) {
    if (entry.is_regular_file() && has_image_ending(entry)) strays.outside.push_back(entry);
    if (!entry.is_directory() || is_passed_over(entry)) continue;
    for (const auto& inner : fs::recursive_directory_iterator(entry))
      if (inner.is_regular_file() && !has_image_ending(inner)) strays.no_image.push_back(inner);
  }
}

}  // namespace

Strays find_strays(const ImageFolder& folder) {
  std::set<fs::path> used, splits;
  for (Split split : {Split::kTrain, Split::kVal, Split::kTest}) {
    splits.insert(folder.root / to_string(split));
    for (const auto& record : folder.split(split))
      used.insert({record.image, record.mask, record.counterfactual});
  }
  Strays strays;
  find_companions(folder.root, used, strays);
  if (!folder.has_splits) {
    look_through_classes(folder.root, strays);
    return strays;
  }
  for (const auto& entry : fs::directory_iterator(folder.root)) {
    if (entry.is_regular_file() && has_image_ending(entry)) strays.outside.push_back(entry);
    if (!entry.is_directory() || is_passed_over(entry)) continue;
    if (splits.count(entry) == 0) {
      strays.folders.push_back(entry);
    } else {
      find_companions(entry, used, strays);
      look_through_classes(entry, strays);
    }
  }
  return strays;
}

}  // namespace flipside
