#pragma once

#include <string>
#include <vector>

namespace flipside {

/// One thing that a user should know or mend, with its remedy.
struct Finding {
  enum class Severity { kNote, kWarning, kError } severity = Severity::kNote;
  std::string what, remedy;
};

/// "note", "warning", "error".
const char* to_string(Finding::Severity severity);

/// The worst first; otherwise in the order of their discovery.
void sort_by_severity(std::vector<Finding>& findings);

/// A paragraph for each, for people; the empty text where there are none.
std::string to_text(const std::vector<Finding>& findings);
/// A JSON array of objects with `severity`, `what` and `remedy`.
std::string to_json(const std::vector<Finding>& findings);

}  // namespace flipside
