#include <fmt/ranges.h>

#include <charconv>
#include <cmath>
#include <nlohmann/json.hpp>
#include <set>

#include "flipside/core/error.h"
#include "flipside/core/log.h"
#include "flipside/core/safetensors.h"
#include "flipside/model/model.h"

namespace flipside {
namespace {

using nlohmann::json;
using Metadata = std::map<std::string, std::string>;

constexpr char kFormat[] = "flipside";
constexpr char kFormatVersion[] = "1";
constexpr char kStatePrefix[] = "state.";

bool is_state(const std::string& name) { return name.rfind(kStatePrefix, 0) == 0; }

void put_threshold(Metadata& metadata, const std::string& key, double value) {
  if (std::isfinite(value)) metadata[key] = fmt::format("{}", value);
}

/// JSON knows no NaN: null stands for it.
json to_json(const std::vector<double>& thresholds) {
  json list = json::array();
  for (double value : thresholds) list.push_back(std::isfinite(value) ? json(value) : json());
  return list;
}

void put_side(Metadata& metadata, const std::string& key, double value) {
  if (value > 0) metadata[key] = fmt::format("{}", value);
}

/// What the metadata of one file says; every refusal names the file and the key.
class MetadataReader {
 public:
  MetadataReader(const fs::path& path, const Metadata& metadata)
      : path_(path), metadata_(metadata) {}

  void check_format() const {
    if (get("format") != kFormat)
      refuse("format", "must be flipside; give a checkpoint of this program");
    if (get("format_version") != kFormatVersion)
      refuse("format_version", "this program reads version 1; use the flipside that wrote it");
    get("crc32");
  }

  Config config() const {
    try {
      const Config config = parse_stored_config(get("config"), path_.string() + ", config");
      validate_config(config);
      return config;
    } catch (const Error& error) {
      fail(ErrorCode::kCheckpoint, "{}", error.what());
    }
  }

  std::vector<std::string> class_names() const {
    const json names = json::parse(get("class_names"), nullptr, /*allow_exceptions=*/false);
    const bool strings =
        names.is_array() &&
        std::all_of(names.begin(), names.end(), [](const json& name) { return name.is_string(); });
    if (!strings || names.size() < 2 ||
        std::set<json>(names.begin(), names.end()).size() != names.size())
      refuse("class_names", "must be a JSON list of two or more different names");
    return names;
  }

  int64_t reference_class(const std::vector<std::string>& class_names) const {
    const auto found = std::find(class_names.begin(), class_names.end(), get("reference_class"));
    if (found == class_names.end())
      refuse("reference_class", fmt::format("must be one of {}", fmt::join(class_names, ", ")));
    return found - class_names.begin();
  }

  double threshold(const std::string& key) const { return number(key, kUndefined); }

  /// One for each class, or none at all.
  std::vector<double> thresholds(const std::string& key, size_t num_classes) const {
    if (metadata_.count(key) == 0) return {};
    const json list = json::parse(get(key), nullptr, /*allow_exceptions=*/false);
    std::vector<double> values;
    for (const json& value : list)
      if (value.is_null() || value.is_number())
        values.push_back(value.is_null() ? kUndefined : value.get<double>());
    if (!list.is_array() || list.size() != num_classes || values.size() != num_classes)
      refuse(key, fmt::format("must be a JSON list of {} numbers or nulls", num_classes));
    return values;
  }

  std::optional<DoubtRule> doubt_rule() const {
    if (metadata_.count("doubt_score") == 0) return std::nullopt;
    const DoubtRule rule{get("doubt_score"), threshold("doubt_threshold"),
                         threshold("doubt_coverage")};
    if (std::isnan(rule.threshold)) refuse("doubt_threshold", "must be there with doubt_score");
    return rule;
  }

  bool flag(const std::string& key) const {
    if (metadata_.count(key) == 0) return false;
    if (get(key) != "true") refuse(key, "must be true, or not there");
    return true;
  }

  double side(const std::string& key) const {
    const double value = number(key, 1.0);
    if (!(value >= 1)) refuse(key, "must be a number of pixels, 1 or more");
    return metadata_.count(key) == 0 ? 0.0 : value;
  }

 private:
  double number(const std::string& key, double absent) const {
    if (metadata_.count(key) == 0) return absent;
    const std::string& text = get(key);
    double value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size() || !std::isfinite(value))
      refuse(key, "must be a number");
    return value;
  }
  const std::string& get(const std::string& key) const {
    const auto found = metadata_.find(key);
    if (found == metadata_.end())
      fail(ErrorCode::kCheckpoint, "{}: metadata {} is missing; give a checkpoint of flipside",
           path_.string(), key);
    return found->second;
  }
  [[noreturn]] void refuse(const std::string& key, const std::string& allowed) const {
    fail(ErrorCode::kCheckpoint, "{}: metadata {} = {}: {}", path_.string(), key, get(key),
         allowed);
  }

  fs::path path_;
  const Metadata& metadata_;
};

std::string describe(const Tensor& tensor) {
  return fmt::format("{} [{}]", at::toString(tensor.scalar_type()), fmt::join(tensor.sizes(), ","));
}

/// Moves the weights out of `stored` into the model; what must remain is "state.*".
void take_weights(const fs::path& path, const Model& model, TensorMap& stored) {
  torch::NoGradGuard no_grad;
  for (auto& [name, tensor] : model_tensors(model)) {
    const auto found = stored.find(name);
    if (found == stored.end())
      fail(ErrorCode::kCheckpoint, "{}: tensor {} is missing, expected {}", path.string(), name,
           describe(tensor));
    if (found->second.sizes() != tensor.sizes() ||
        found->second.scalar_type() != tensor.scalar_type())
      fail(ErrorCode::kCheckpoint, "{}: tensor {} is {}, its configuration expects {}",
           path.string(), name, describe(found->second), describe(tensor));
    Tensor(tensor).copy_(found->second);
    stored.erase(found);
  }
  for (const auto& [name, tensor] : stored)
    if (!is_state(name))
      fail(ErrorCode::kCheckpoint, "{}: tensor {} has no place in a model of its configuration",
           path.string(), name);
}

}  // namespace

fs::path checkpoint_file(const fs::path& path) {
  if (!fs::exists(path))
    fail(ErrorCode::kCheckpoint,
         "{}: no such file or run; train one with: flipside train DIR --out {}", path.string(),
         path.string());
  if (!fs::is_directory(path)) return path;
  for (const char* name : {"best.safetensors", "last.safetensors"})
    if (fs::exists(path / name)) return path / name;
  fail(ErrorCode::kCheckpoint,
       "{}: holds neither best.safetensors nor last.safetensors; give the folder that flipside "
       "train --out made, or wait for its first checkpoint",
       path.string());
}

void save_checkpoint(const fs::path& path, const Model& model, const TensorMap& extra,
                     const Metadata& extra_metadata) {
  SafetensorsFile file{model_tensors(model), extra_metadata};
  for (const auto& [name, tensor] : extra) {
    TORCH_CHECK(is_state(name), "save_checkpoint: extra tensor ", name, " must begin with state.");
    file.tensors[name] = tensor;
  }
  Metadata& metadata = file.metadata;
  metadata["format"] = kFormat;
  metadata["format_version"] = kFormatVersion;
  metadata["flipside_version"] = FLIPSIDE_VERSION;
  metadata["config"] = to_toml(model.config);
  metadata["reference_class"] = model.class_names.at(model.reference_class);
  put_threshold(metadata, "threshold_label_free", model.thresholds.label_free);
  put_threshold(metadata, "threshold_tuned", model.thresholds.tuned);
  if (!model.thresholds.by_class.empty())
    metadata["threshold_label_free_by_class"] = to_json(model.thresholds.by_class).dump();
  if (model.thresholds.without_cast) metadata["maps_without_cast"] = "true";
  if (model.doubt_rule) {
    metadata["doubt_score"] = model.doubt_rule->score;
    put_threshold(metadata, "doubt_threshold", model.doubt_rule->threshold);
    put_threshold(metadata, "doubt_coverage", model.doubt_rule->coverage);
  }
  put_side(metadata, "native_side_median", model.native_sides.median);
  put_side(metadata, "native_side_largest", model.native_sides.largest);
  try {
    metadata["class_names"] = json(model.class_names).dump();
  } catch (const json::exception& error) {
    fail(ErrorCode::kArgument, "class names must be UTF-8; rename the folders: {}", error.what());
  }
  write_safetensors(path, file);
}

Checkpoint load_checkpoint(const fs::path& path) {
  const fs::path file = checkpoint_file(path);
  if (file != path && file.filename() == "last.safetensors")
    info("{}: its training has chosen no model yet; the state that it last stored is taken",
         path.string());
  auto [tensors, metadata] = read_safetensors(file);
  const MetadataReader reader(file, metadata);
  reader.check_format();
  const auto class_names = reader.class_names();
  Checkpoint checkpoint;
  checkpoint.model = make_model(reader.config(), class_names, reader.reference_class(class_names));
  checkpoint.model.thresholds.label_free = reader.threshold("threshold_label_free");
  checkpoint.model.thresholds.tuned = reader.threshold("threshold_tuned");
  checkpoint.model.thresholds.by_class =
      reader.thresholds("threshold_label_free_by_class", class_names.size());
  checkpoint.model.thresholds.without_cast = reader.flag("maps_without_cast");
  checkpoint.model.doubt_rule = reader.doubt_rule();
  checkpoint.model.native_sides.median = reader.side("native_side_median");
  checkpoint.model.native_sides.largest = reader.side("native_side_largest");
  take_weights(file, checkpoint.model, tensors);
  checkpoint.extra = std::move(tensors);
  checkpoint.metadata = std::move(metadata);
  return checkpoint;
}

Model load_model(const fs::path& path, at::Device device) {
  Model model = load_checkpoint(path).model;
  model.to(device);
  model.eval();
  model.freeze();
  return model;
}

}  // namespace flipside
