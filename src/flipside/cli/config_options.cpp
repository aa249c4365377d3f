#include "flipside/cli/config_options.h"

#include <algorithm>

#include "flipside/config/fields.h"
#include "flipside/core/device.h"

namespace flipside {

ConfigOptions::ConfigOptions(CLI::App& command, const std::vector<std::string>& sections) {
  command.add_option("--config", file_, "TOML file with any of the options below")
      ->type_name("FILE");
  Config defaults;
  for (const auto& field : config_fields(defaults)) {
    if (std::find(sections.begin(), sections.end(), field.section) == sections.end()) continue;
    const std::string key = field.key();
    const std::string help =
        field.help + " (" + field.range + "; default " + field.default_value + ")";
    CLI::Option* option = nullptr;
    if (field.is_bool) {
      option = command.add_flag_function(
          field.flag() + ",!--no-" + field.flag().substr(2),
          [this, key](int64_t count) { given_.emplace_back(key, count > 0 ? "true" : "false"); },
          help);
    } else {
      option = command.add_option_function<std::string>(
          field.flag(), [this, key](const std::string& text) { given_.emplace_back(key, text); },
          help);
      option->type_name("");
    }
    option->group(field.section)->take_last();  // a script may append to another's flags
  }
}

void add_split_option(CLI::App& command, Split& split) {
  std::vector<std::pair<std::string, Split>> words;
  for (const Split each : kSplits) words.emplace_back(to_string(each), each);
  add_choice(command, "--split", split, words, "test (default), val or train");
}

void add_device_option(CLI::App& command, DeviceChoice& device) {
  add_choice(command, "--device", device, device_names(),
             "cpu, cuda (a GPU), or auto (default): the GPU if there is");
}

void add_precision_option(CLI::App& command, std::optional<Precision>& precision) {
  add_choice(
      command, "--precision", precision, precision_names(),
      "of the convolutions that make counterfactuals: float32, bfloat16, or auto: bfloat16 "
      "where the processor or GPU has it, half as fast again, as are the views of images whose "
      "answer is not sure; the first answer and fakeness stay those of float32 (default: auto, or "
      "what the model was trained with)");
}

void add_threads_option(CLI::App& command) {
  const auto set = [](int threads) {
    if (threads > 0) configure_runtime(threads);
  };
  command
      .add_option_function<int>("--threads", set,
                                "0: OMP_NUM_THREADS, else one per processor (default)")
      ->check(CLI::Range(0, 1024))
      ->type_name("");
}

Config ConfigOptions::resolve() const {
  Config config;
  if (!file_.empty()) load_config(file_, config);
  auto fields = config_fields(config);
  for (const auto& [key, value] : given_) {
    const auto field = std::find_if(fields.begin(), fields.end(),
                                    [&key = key](const Field& f) { return f.key() == key; });
    field->set(value);
  }
  validate_config(config);
  return config;
}

}  // namespace flipside
