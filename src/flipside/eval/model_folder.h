#pragma once

#include <filesystem>

#include "flipside/data/dataset.h"
#include "flipside/model/model.h"

namespace flipside {

namespace fs = std::filesystem;

/// The images under `root` as a model's training would see them: its reference class, and, in a
/// folder without splits, its `split_seed` and fractions, so that no image it was trained on lands
/// in the test split. Throws as `scan_image_folder` and `require_model_classes`.
ImageFolder scan_for_model(const fs::path& root, const Model& model);

/// Throws `Error(kData)` when the folder's classes are not the model's.
void require_model_classes(const ImageFolder& folder, const Model& model);

}  // namespace flipside
