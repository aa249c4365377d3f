#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "flipside/attack/suite.h"
#include "flipside/data/dataset.h"
#include "flipside/explain/explainer.h"

namespace flipside {

namespace fs = std::filesystem;

// Grids of pictures beside the figures of a training or an attack. A build without OpenCV draws
// none.

/// Each image of the batch with its counterfactual, change, mask and true mask (zeros where the
/// truth is not known), its class as the row's label. Throws `Error(kIo)`.
void draw_counterfactuals(const Explanation& explanation, const Batch& batch,
                          const std::vector<std::string>& class_names, const fs::path& file);

/// A grid of images [N,3,H,W] under PGD-20 at each bound: attacked image and the change, enlarged
/// to fill the range around gray, with the answers as row labels' captions.
/// Throws `Error(kIo)`.
void draw_attacked(const fs::path& file, const Victim& victim, const Tensor& images,
                   const Tensor& labels, const std::vector<std::string>& class_names,
                   const SuiteOptions& options);

}  // namespace flipside
