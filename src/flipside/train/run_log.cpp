#include "flipside/train/run_log.h"

#include <cmath>
#include <nlohmann/json.hpp>
#include <sstream>

#include "flipside/core/file.h"

namespace flipside {

void RunLog::write(int64_t step, const std::string& kind,
                   const std::vector<std::pair<std::string, double>>& values) const {
  nlohmann::ordered_json line{{"step", step}, {"kind", kind}};
  for (const auto& [name, value] : values)
    line[name] = std::isfinite(value) ? nlohmann::ordered_json(value) : nlohmann::ordered_json();
  append_line(file_, line.dump());
}

std::vector<LogLine> RunLog::read() const {
  std::vector<LogLine> lines;
  if (!fs::exists(file_)) return lines;
  std::istringstream stream(read_file(file_));
  for (std::string text; std::getline(stream, text);) {
    const auto parsed = nlohmann::ordered_json::parse(text, nullptr, /*allow_exceptions=*/false);
    if (!parsed.is_object() || !parsed.contains("step") || !parsed["step"].is_number_integer())
      continue;
    LogLine line{parsed["step"].get<int64_t>(), "", {}};
    for (const auto& [name, value] : parsed.items()) {
      if (name == "kind" && value.is_string()) line.kind = value.get<std::string>();
      if (name == "kind" || name == "step") continue;
      line.values.emplace_back(name, value.is_number() ? value.get<double>() : std::nan(""));
    }
    lines.push_back(std::move(line));
  }
  return lines;
}

void RunLog::rewind_to(int64_t step) const {
  if (!fs::exists(file_)) return;
  std::istringstream lines(read_file(file_));
  std::string kept;
  for (std::string line; std::getline(lines, line);) {
    const auto parsed = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
    if (parsed.is_object() && parsed.value("step", step + 1) <= step) kept += line + "\n";
  }
  atomic_write(file_, kept);
}

}  // namespace flipside
