#pragma once

#include <vector>

#include "flipside/data/dataset.h"

namespace flipside {

/// What lies in the folder of a data set without being used.
struct Strays {
  std::vector<fs::path> companions;  ///< masks and counterfactuals of no image
  std::vector<fs::path> outside;     ///< images beside the class folders
  std::vector<fs::path> folders;     ///< folders beside train/, val/ and test/
  std::vector<fs::path> no_image;    ///< files in class folders that are no images
};

Strays find_strays(const ImageFolder& folder);

}  // namespace flipside
