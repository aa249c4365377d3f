#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

namespace flipside {

/// Both take `summarise` of every method by its name: {"ordinary": {"measures": ...}, ...}.

/// A line per measure that any method has, a column per method: mean and deviation. Below, what the
/// findings of each run warn of: a mean does not tell that one seed of three went astray.
std::string benchmark_text(const nlohmann::ordered_json& methods);

/// `measure` ("accuracy", "macro_f1") of the class logits in the worst case against the bound, as
/// SVG: a curve of the means per method, with a band of one deviation where there are more seeds.
/// `label` names the axis. Methods that were not attacked have no curve.
std::string benchmark_curves(const nlohmann::ordered_json& methods, const std::string& measure,
                             const std::string& label);

}  // namespace flipside
