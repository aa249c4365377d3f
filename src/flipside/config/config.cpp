#include "flipside/config/config.h"

#include <fmt/ranges.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <limits>
#include <map>
#include <sstream>

#include "flipside/config/fields.h"
#include "flipside/core/error.h"
#include "flipside/core/file.h"

namespace flipside {
namespace {

std::string join_inputs(const std::vector<std::string>& inputs) {
  return fmt::format("{}", fmt::join(inputs, ","));
}

int64_t edit_distance(const std::string& a, const std::string& b) {
  std::vector<int64_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = static_cast<int64_t>(j);
  for (size_t i = 1; i <= a.size(); ++i) {
    int64_t diagonal = row[0];
    row[0] = static_cast<int64_t>(i);
    for (size_t j = 1; j <= b.size(); ++j) {
      const int64_t substituted = diagonal + (a[i - 1] != b[j - 1]);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, substituted});
    }
  }
  return row[b.size()];
}

std::string read_config(const std::filesystem::path& file) try {
  return read_file(file);
} catch (const Error& error) {
  fail(ErrorCode::kConfig, "{}", error.what());
}

}  // namespace

std::string nearest_name(const std::string& word, const std::vector<std::string>& candidates) {
  std::string best;
  int64_t best_distance = std::numeric_limits<int64_t>::max();
  for (const auto& candidate : candidates) {
    const int64_t distance = edit_distance(word, candidate);
    if (distance < best_distance) {
      best_distance = distance;
      best = candidate;
    }
  }
  return best;
}

void parse_config(const std::string& text, const std::string& origin, Config& config) {
  std::vector<CLI::ConfigItem> items;
  try {
    std::istringstream stream(text);
    items = CLI::ConfigTOML().from_config(stream);
  } catch (const CLI::Error& error) {
    fail(ErrorCode::kConfig, "{}: not TOML: {}", origin, error.what());
  }
  auto fields = config_fields(config);
  std::map<std::string, Field*> by_key;
  std::vector<std::string> keys;
  for (auto& field : fields) {
    by_key[field.key()] = &field;
    keys.push_back(field.key());
  }
  for (const auto& item : items) {
    if (item.name == "++" || item.name == "--") continue;  // CLI11's section marks
    const std::string key = item.fullname();
    const auto found = by_key.find(key);
    if (found == by_key.end())
      fail(ErrorCode::kConfig, "{}: unknown key {}; did you mean {}?", origin, key,
           nearest_name(key, keys));
    try {
      found->second->set(join_inputs(item.inputs));
    } catch (const Error& error) {
      fail(ErrorCode::kConfig, "{}: {}", origin, error.what());
    }
  }
}

void load_config(const std::filesystem::path& file, Config& config) {
  parse_config(read_config(file), file.string(), config);
}

Config parse_stored_config(const std::string& text, const std::string& origin) {
  constexpr auto kAbsent = std::numeric_limits<uint64_t>::max();
  Config config;
  config.data.split_seed = kAbsent;
  config.loss.false_change_goal = 0;
  config.loss.lambda_mask = 0;
  parse_config(text, origin, config);
  if (config.data.split_seed == kAbsent) config.data.split_seed = config.train.seed;
  return config;
}

Config load_stored_config(const std::filesystem::path& file) {
  return parse_stored_config(read_config(file), file.string());
}

std::string to_toml(const Config& config) {
  Config copy = config;
  std::string text, section;
  for (const auto& field : config_fields(copy)) {
    if (field.section != section) {
      text += fmt::format("{}[{}]\n", section.empty() ? "" : "\n", field.section);
      section = field.section;
    }
    text += fmt::format("{} = {}\n", field.name, field.get());
  }
  return text;
}

void validate_config(const Config& config) {
  const auto levels = static_cast<int64_t>(
      std::max(config.model.generator_widths.size(), config.model.discriminator_widths.size()));
  const int64_t multiple = int64_t{1} << (levels - 1);
  if (config.data.size % multiple != 0)
    fail(ErrorCode::kConfig,
         "data.size = {}: must be a multiple of {} for networks with {} levels; {} is near",
         config.data.size, multiple, levels,
         std::max<int64_t>(multiple, (config.data.size + multiple / 2) / multiple * multiple));
  if (config.data.val_fraction + config.data.test_fraction > 0.9)
    fail(ErrorCode::kConfig,
         "data.val_fraction + data.test_fraction = {}: must leave 0.1 or more for training",
         config.data.val_fraction + config.data.test_fraction);
  if (config.loss.robust_cf_fraction > 0 && config.model.fake_head != FakeHead::kFactorised)
    fail(ErrorCode::kConfig,
         "loss.robust_cf_fraction = {}: needs model.fake_head = factorised, whose counterfactuals "
         "have a class to defend; set that or leave the fraction 0",
         config.loss.robust_cf_fraction);
}

}  // namespace flipside
