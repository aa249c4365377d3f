#pragma once

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "flipside/config/config.h"

namespace flipside {

/// One option: a key of the configuration file (`[section] name = value`), a flag
/// (`--name-with-dashes value`), its default, range and help. Names are unique over all sections.
struct Field {
  std::string section, name, range, help;
  bool is_bool = false;
  std::string default_value;
  /// Parses and checks; throws `Error(kConfig)` "section.name = value: must be ...".
  std::function<void(const std::string&)> set;
  /// The value as TOML.
  std::function<std::string()> get;

  std::string key() const { return section + "." + name; }
  std::string flag() const;
};

/// All options, bound to `config`, which must outlive the result. The only place where an
/// option's name, range and help are written.
std::vector<Field> config_fields(Config& config);

/// The words for a device and for a precision, for options beside the configuration's.
const std::vector<std::pair<std::string, DeviceChoice>>& device_names();
const std::vector<std::pair<std::string, Precision>>& precision_names();

}  // namespace flipside
