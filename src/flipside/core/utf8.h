#pragma once

#include <string>

namespace flipside {

/// Whether a text is UTF-8, which JSON and what is stored in files must be; names of files need
/// not.
bool is_utf8(const std::string& text);

}  // namespace flipside
