#pragma once

#include <string>

namespace flipside {

/// The text with the five characters that mean something in markup replaced: fit for HTML, SVG and
/// attributes in double quotes.
std::string escaped(const std::string& text);

}  // namespace flipside
