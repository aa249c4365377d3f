#include <CLI/CLI.hpp>
#include <algorithm>
#include <charconv>
#include <sstream>

#include "flipside/config/fields.h"
#include "flipside/core/error.h"
#include "flipside/core/file.h"
#include "flipside/report/benchmark.h"

namespace flipside {
namespace {

using Settings = std::vector<std::pair<std::string, std::string>>;  // key, value

/// The sections of a TOML file, in order.
std::vector<std::pair<std::string, Settings>> read_sections(const fs::path& file) {
  std::vector<CLI::ConfigItem> items;
  try {
    std::istringstream stream(read_file(file));
    items = CLI::ConfigTOML().from_config(stream);
  } catch (const CLI::Error& error) {
    fail(ErrorCode::kConfig, "{}: not TOML: {}", file.string(), error.what());
  }
  std::vector<std::pair<std::string, Settings>> sections;
  for (const auto& item : items) {
    const std::string name = item.parents.empty() ? "" : item.parents.front();
    if (sections.empty() || sections.back().first != name) sections.push_back({name, {}});
    if (item.name == "++" || item.name == "--") continue;  // CLI11's section marks
    if (name.empty() || item.parents.size() > 1)
      fail(ErrorCode::kConfig, "{}: {}: must stand in [benchmark], [common] or a method's section",
           file.string(), item.fullname());
    std::string value;
    for (const auto& part : item.inputs) value += (value.empty() ? "" : ",") + part;
    sections.back().second.emplace_back(item.name, value);
  }
  return sections;
}

/// Puts options of `train`, named without their sections, into `config`.
void apply(const Settings& settings, const fs::path& file, const std::string& section,
           Config& config) {
  for (const auto& [key, value] : settings)
    if (key == "config") load_config(file.parent_path() / value, config);
  auto fields = config_fields(config);
  std::vector<std::string> names{"config"};
  for (const auto& field : fields) names.push_back(field.name);
  for (const auto& [key, value] : settings) {
    if (key == "config") continue;
    const auto same = [&key = key](const Field& field) { return field.name == key; };
    const auto found = std::find_if(fields.begin(), fields.end(), same);
    if (found == fields.end())
      fail(ErrorCode::kConfig, "{}: [{}] has an unknown key {}; did you mean {}?", file.string(),
           section, key, nearest_name(key, names));
    try {
      found->set(value);
    } catch (const Error& error) {
      fail(ErrorCode::kConfig, "{}: [{}] {}", file.string(), section, error.what());
    }
  }
}

Split split_named(const std::string& name, const fs::path& file) {
  for (const Split split : {Split::kTrain, Split::kVal, Split::kTest})
    if (name == to_string(split)) return split;
  fail(ErrorCode::kConfig, "{}: benchmark.split = {}: must be one of train, val, test",
       file.string(), name);
}

int64_t count_of(const std::string& key, const std::string& text, const fs::path& file,
                 int64_t least = 0) {
  int64_t count = -1;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), count);
  if (error != std::errc() || end != text.data() + text.size() || count < least)
    fail(ErrorCode::kConfig, "{}: benchmark.{} = {}: must be a whole number >= {}", file.string(),
         key, text, least);
  return count;
}

std::vector<std::string> names_in(const std::string& list) {
  std::vector<std::string> names;
  std::istringstream stream(list);
  for (std::string name; std::getline(stream, name, ',');) names.push_back(name);
  return names;
}

/// Takes one key of `[benchmark]`; the judge is still a name.
void set(Benchmark& benchmark, const std::string& key, const std::string& value,
         const fs::path& file) {
  if (key == "data") {
    benchmark.data = fs::absolute(file).parent_path() / value;
  } else if (key == "split") {
    benchmark.split = split_named(value, file);
  } else if (key == "judge") {
    benchmark.judge.name = value;
  } else if (key == "maps") {
    benchmark.maps = count_of(key, value, file);
  } else if (key == "maps_of") {
    benchmark.maps_of = names_in(value);
  } else if (key == "attacked") {
    benchmark.attacked = count_of(key, value, file);
  } else if (key == "attack_steps") {
    benchmark.attacks.steps = count_of(key, value, file, /*least=*/1);
  } else if (key == "attack_queries") {
    benchmark.attacks.queries = count_of(key, value, file, /*least=*/1);
  } else if (key == "doubt") {
    if (value != "true" && value != "false")
      fail(ErrorCode::kConfig, "{}: benchmark.doubt = {}: must be true or false", file.string(),
           value);
    benchmark.doubt = value == "true";
  } else {
    fail(ErrorCode::kConfig, "{}: unknown key benchmark.{}; did you mean {}?", file.string(), key,
         nearest_name(key, {"data", "split", "judge", "maps", "maps_of", "attacked", "attack_steps",
                            "attack_queries", "doubt"}));
  }
}

}  // namespace

Benchmark load_benchmark(const fs::path& file) {
  if (!fs::exists(file)) fail(ErrorCode::kConfig, "{}: there is no such file", file.string());
  Benchmark benchmark;
  for (const int bound : {1, 2, 4, 8}) benchmark.attacks.eps.push_back(bound / 255.0);
  Settings common;
  std::vector<std::pair<std::string, Settings>> methods;
  for (auto& [name, settings] : read_sections(file)) {
    if (name == "common") {
      common = settings;
    } else if (name != "benchmark") {
      methods.emplace_back(name, settings);
    } else {
      for (const auto& [key, value] : settings) set(benchmark, key, value, file);
    }
  }
  if (benchmark.data.empty())
    fail(ErrorCode::kConfig, "{}: lacks benchmark.data, the folder of images", file.string());
  const std::string judge = benchmark.judge.name;
  for (const auto& [name, settings] : methods) {
    BenchmarkMethod method{name, {}};
    apply(common, file, "common", method.config);
    apply(settings, file, name, method.config);
    (name == judge ? benchmark.judge : benchmark.methods.emplace_back()) = method;
  }
  const auto require_section = [&](const char* key, const std::string& wanted) {
    for (const auto& section : methods)
      if (section.first == wanted) return;
    fail(ErrorCode::kConfig, "{}: benchmark.{} = {}: there is no section [{}]", file.string(), key,
         wanted, wanted);
  };
  if (!judge.empty()) require_section("judge", judge);
  for (const auto& name : benchmark.maps_of) require_section("maps_of", name);
  if (benchmark.methods.empty())
    fail(ErrorCode::kConfig, "{}: has no method; add a section such as [flipside]", file.string());
  return benchmark;
}

}  // namespace flipside
