#pragma once

#include <filesystem>

#include "flipside/eval/robustness.h"

namespace flipside {

namespace fs = std::filesystem;

/// Accuracy against eps with 95 % bands, as SVG: one curve per attack and the worst case. With a
/// reject option: the share right or rejected.
std::string robustness_svg(const Robustness& victim, Norm norm);

/// A grid of images [N,3,H,W] under PGD-20 at each bound: attacked image and the change, enlarged
/// to fill the range around gray, with the answers as row labels' captions.
/// Throws `Error(kIo)`.
void draw_attacked(const fs::path& file, const Victim& victim, const Tensor& images,
                   const Tensor& labels, const std::vector<std::string>& class_names,
                   const SuiteOptions& options);

}  // namespace flipside
