#include "flipside/cli/synth_command.h"

#include <filesystem>
#include <memory>

#include "flipside/data/synth/synth.h"

namespace flipside {

void add_synth_command(CLI::App& app) {
  struct Arguments {
    std::filesystem::path out;
    synth::SynthOptions options;
  };
  const auto arguments = std::make_shared<Arguments>();
  auto& options = arguments->options;
  CLI::App* command = app.add_subcommand(
      "synth", "Generate a data set with exact masks and the images without their defects");
  command->add_option("KIND", options.kind, "What to make: cracks (in concrete) or fruit")
      ->required();
  command->add_option("OUT", arguments->out, "Folder to write, new or begun by the same command")
      ->required();
  command->add_option("--count", options.count, "Images over all splits; half show a defect")
      ->capture_default_str();
  command->add_option("--size", options.size, "Width and height in pixels")->capture_default_str();
  command->add_option("--seed", options.seed, "Same seed, same images")->capture_default_str();
  command->callback([arguments] { synth::write_data_set(arguments->out, arguments->options); });
}

}  // namespace flipside
