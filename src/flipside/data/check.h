#pragma once

#include <map>
#include <string>
#include <vector>

#include "flipside/core/finding.h"
#include "flipside/data/dataset.h"

namespace flipside {

/// What `flipside data check` found.
struct DataReport {
  ImageFolder folder;
  std::vector<std::vector<int64_t>> count;  ///< [split][class] images found, readable or not
  std::map<std::string, int64_t> sizes;     ///< "256x256" (width x height) -> readable images
  std::vector<std::vector<int64_t>> masks;  ///< [split][class] images with a mask
  std::vector<Finding> findings;
  /// True when something must be mended before training.
  bool has_errors() const;
};

/// Reads every file once: counts, sizes, mask pairing, unreadable files, files that belong to
/// nothing, equal images in more than one split or class, imbalance, the reference class it would
/// choose, and whether the classes differ in mean brightness, colour, shape or file size (cues that
/// a model could take instead of the defect). Throws as `scan_image_folder` does when there is no
/// data set at all.
DataReport check_data(const fs::path& root, const DataConfig& config);

/// The report as text for people.
std::string to_text(const DataReport& report);
/// And as JSON for programs.
std::string to_json(const DataReport& report);

}  // namespace flipside
