#include <CLI/CLI.hpp>

#include "flipside/cli/commands.h"
#include "flipside/cli/config_options.h"
#include "flipside/core/error.h"
#include "flipside/core/file.h"
#include "flipside/core/log.h"
#include "flipside/data/check.h"
#include "flipside/data/pack.h"

namespace flipside {
namespace {

struct CheckArguments {
  std::string data;
  bool json = false;
  std::unique_ptr<ConfigOptions> options;
};

void run_check(const CheckArguments& arguments) {
  const Config config = arguments.options->resolve();
  const DataReport report = check_data(arguments.data, config.data);
  print_result(arguments.json ? to_json(report) : to_text(report));
  if (report.has_errors())
    fail(ErrorCode::kData, "{}: mend the errors above before training", arguments.data);
}

struct PackArguments {
  std::string data, file;
  std::unique_ptr<ConfigOptions> options;
};

void run_pack(const PackArguments& arguments) {
  if (!is_pack_file(arguments.file))
    fail(ErrorCode::kUsage, "{}: a packed data set is a file that ends in .safetensors",
         arguments.file);
  require_writable(arguments.file);
  const Config config = arguments.options->resolve();
  const ImageFolder folder = scan_image_folder(arguments.data, config.data);
  const PackCounts counts = write_pack(folder, config.data.size, arguments.file);
  info("{}: {} images of {}x{} pixels, {:.1f} MB; good parts: {} ({}){}", arguments.file,
       counts.images, config.data.size, config.data.size,
       static_cast<double>(fs::file_size(arguments.file)) / 1e6,
       folder.class_names[folder.reference_class], folder.reference_reason,
       counts.unreadable > 0 ? fmt::format("; {} left out, named above", counts.unreadable) : "");
}

void add_check(CLI::App& data) {
  auto* command = data.add_subcommand("check", "Counts, masks, broken and equal files, remedies");
  auto arguments = std::make_shared<CheckArguments>();
  command->add_option("DIR", arguments->data, "folder with one folder of images per class")
      ->required();
  command->add_flag("--json", arguments->json, "print JSON");
  arguments->options = std::make_unique<ConfigOptions>(*command, std::vector<std::string>{"data"});
  command->callback([arguments] { run_check(*arguments); });
}

void add_pack(CLI::App& data) {
  auto* command = data.add_subcommand(
      "pack", "Write a data set as one file that train and evaluate take in place of a folder");
  auto arguments = std::make_shared<PackArguments>();
  command->add_option("DIR", arguments->data, "folder with one folder of images per class")
      ->required();
  command->add_option("FILE", arguments->file, "file to write, NAME.safetensors")->required();
  arguments->options = std::make_unique<ConfigOptions>(*command, std::vector<std::string>{"data"});
  command->callback([arguments] { run_pack(*arguments); });
}

}  // namespace

void add_data_command(CLI::App& app) {
  auto* data = app.add_subcommand("data", "Look at a data set, or pack it into one file");
  data->require_subcommand(1);
  add_check(*data);
  add_pack(*data);
}

}  // namespace flipside
