#include <CLI/CLI.hpp>
#include <cstdio>

#include "flipside/cli/commands.h"
#include "flipside/cli/config_options.h"
#include "flipside/core/error.h"
#include "flipside/data/check.h"

namespace flipside {
namespace {

struct CheckArguments {
  std::string data;
  bool json = false;
  std::unique_ptr<ConfigOptions> options;
};

void run_check(const CheckArguments& arguments) {
  const Config config = arguments.options->resolve();
  const DataReport report = check_data(arguments.data, config.data, config.train.seed);
  std::fputs((arguments.json ? to_json(report) : to_text(report)).c_str(), stdout);
  if (report.has_errors())
    fail(ErrorCode::kData, "{}: the errors above must be mended before training", arguments.data);
}

}  // namespace

void add_data_command(CLI::App& app) {
  auto* data = app.add_subcommand("data", "Look at a data set");
  data->require_subcommand(1);
  auto* command = data->add_subcommand("check", "Counts, masks, broken and equal files, remedies");
  auto arguments = std::make_shared<CheckArguments>();
  command->add_option("DIR", arguments->data, "folder with one folder of images per class")
      ->required();
  command->add_flag("--json", arguments->json, "print JSON");
  arguments->options = std::make_unique<ConfigOptions>(*command, std::vector<std::string>{"data"});
  command->callback([arguments] { run_check(*arguments); });
}

}  // namespace flipside
