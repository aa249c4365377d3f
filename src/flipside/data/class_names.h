#pragma once

#include <string>
#include <vector>

namespace flipside {

/// True when the name of a class says "good part": a word such as good, ok, intact or normal, or a
/// negated fault ("no_defect", "NonCracked", "MT_Free"), but not a negated good word ("not_ok").
bool names_good_parts(const std::string& class_name);

/// The words of a name in lower case, split where letters end and where camel case begins a word.
std::vector<std::string> words_of(const std::string& name);

}  // namespace flipside
