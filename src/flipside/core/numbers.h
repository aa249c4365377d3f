#pragma once

#include <cstdint>
#include <limits>

namespace flipside {

inline constexpr double kInfinity = std::numeric_limits<double>::infinity();
/// A figure that there is no value for: NaN; written as null in JSON and as a dash in tables.
inline constexpr double kUndefined = std::numeric_limits<double>::quiet_NaN();

/// A place on an axis of `side` pixels that is continued beyond its border as in a mirror that
/// stands on the outermost pixels.
inline int64_t mirrored(int64_t place, int64_t side) {
  if (side == 1) return 0;
  const int64_t period = 2 * (side - 1);
  place = ((place % period) + period) % period;
  return place < side ? place : period - place;
}

}  // namespace flipside
