#pragma once

#include <limits>

namespace flipside {

inline constexpr double kInfinity = std::numeric_limits<double>::infinity();
/// A figure that there is no value for: NaN; written as null in JSON and as a dash in tables.
inline constexpr double kUndefined = std::numeric_limits<double>::quiet_NaN();

}  // namespace flipside
