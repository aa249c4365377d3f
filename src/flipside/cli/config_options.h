#pragma once

#include <CLI/CLI.hpp>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "flipside/config/config.h"
#include "flipside/core/error.h"
#include "flipside/data/dataset.h"

namespace flipside {

/// `--config FILE` and one flag for every key of the configuration. Flags win over the file.
class ConfigOptions {
 public:
  /// Registers the flags of the named sections with `command`, which must outlive the parsing.
  ConfigOptions(CLI::App& command, const std::vector<std::string>& sections);
  /// The configuration: defaults, then the file, then the flags. Throws `Error(kConfig)`.
  Config resolve() const;
  /// True when the file or any flag was given.
  bool any_given() const { return !file_.empty() || !given_.empty(); }

 private:
  std::string file_;
  std::vector<std::pair<std::string, std::string>> given_;  ///< key, value
};

/// An option that takes one of these words; `help` names them. `choice` is a `Choice` or an
/// optional one. Another word throws `Error(kUsage)`.
template <class Choice, class Target>
void add_choice(CLI::App& command, const std::string& flag, Target& choice,
                const std::vector<std::pair<std::string, Choice>>& words, const std::string& help) {
  const auto choose = [flag, &choice, words](const std::string& word) {
    std::string known;
    for (const auto& [name, value] : words) {
      known += (known.empty() ? "" : ", ") + name;
      if (name != word) continue;
      choice = value;
      return;
    }
    fail(ErrorCode::kUsage, "{} {}: must be one of {}", flag, word, known);
  };
  command.add_option_function<std::string>(flag, choose, help)->type_name("WORD");
}

/// `--split train|val|test`.
void add_split_option(CLI::App& command, Split& split);
/// `--device auto|cpu|cuda` of the commands that have no other part of the configuration.
void add_device_option(CLI::App& command, DeviceChoice& device);
/// `--precision auto|float32|bfloat16` of the commands that show or measure counterfactuals; where
/// it is given it replaces `explain.generator_precision`.
void add_precision_option(CLI::App& command, std::optional<Precision>& precision);
/// `--threads N` of the commands without `[train]`; it takes effect while the command line is read.
void add_threads_option(CLI::App& command);

}  // namespace flipside
