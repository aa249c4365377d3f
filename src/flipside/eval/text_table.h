#pragma once

#include <string>
#include <vector>

namespace flipside {

/// Rows of cells as text: the first column to the left, the others to the right, two spaces
/// between, indented by two.
std::string text_table(const std::vector<std::vector<std::string>>& rows);

}  // namespace flipside
