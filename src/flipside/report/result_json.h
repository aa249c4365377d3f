#pragma once

#include <cmath>
#include <nlohmann/json.hpp>

#include "flipside/explain/regions.h"

namespace flipside {

// What the lines of results.jsonl of every method are made of.

/// A number as it is written there: to six decimals.
inline double six_decimals(double value) { return std::round(value * 1e6) / 1e6; }

inline nlohmann::ordered_json box_json(const Box& box) {
  return {
      {"x", box.x}, {"y", box.y}, {"width", box.width}, {"height", box.height}, {"area", box.area}};
}

}  // namespace flipside
