#pragma once

#include <optional>
#include <string>
#include <vector>

namespace flipside {

/// "0.123", or "-" for NaN and for nothing.
std::string number(double value, int digits = 3);
std::string number(const std::optional<double>& value);

/// Rows of cells: the first column to the left, the others to the right, two spaces between.
std::string table(const std::vector<std::vector<std::string>>& rows);

}  // namespace flipside
