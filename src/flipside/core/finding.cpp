#include "flipside/core/finding.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

namespace flipside {

const char* to_string(Finding::Severity severity) {
  switch (severity) {
    case Finding::Severity::kNote:
      return "note";
    case Finding::Severity::kWarning:
      return "warning";
    case Finding::Severity::kError:
      return "error";
  }
  return "";
}

void sort_by_severity(std::vector<Finding>& findings) {
  std::stable_sort(findings.begin(), findings.end(),
                   [](const Finding& a, const Finding& b) { return a.severity > b.severity; });
}

std::string to_text(const std::vector<Finding>& findings) {
  std::string text;
  for (const auto& finding : findings)
    text += fmt::format("\n{}: {}\n  remedy: {}\n", to_string(finding.severity), finding.what,
                        finding.remedy);
  return text;
}

std::string to_json(const std::vector<Finding>& findings) {
  using Json = nlohmann::ordered_json;
  Json json = Json::array();
  for (const auto& finding : findings)
    json.push_back({{"severity", to_string(finding.severity)},
                    {"what", finding.what},
                    {"remedy", finding.remedy}});
  // What findings name need not be UTF-8; JSON must be.
  return json.dump(/*indent=*/-1, ' ', /*ensure_ascii=*/false, Json::error_handler_t::replace);
}

}  // namespace flipside
