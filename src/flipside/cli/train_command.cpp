#include <CLI/CLI.hpp>

#include "flipside/cli/commands.h"
#include "flipside/cli/config_options.h"
#include "flipside/core/error.h"
#include "flipside/core/launch.h"
#include "flipside/core/log.h"
#include "flipside/eval/flaws.h"
#include "flipside/report/validation.h"
#include "flipside/train/run.h"

namespace flipside {
namespace {

struct TrainArguments {
  std::string data, out, resume;
  std::unique_ptr<ConfigOptions> options;
};

/// Where the model is and, from the first process of a group, what to know before relying on it.
void conclude(const std::string& run) {
  if (read_launch().rank == 0) {
    const Results results = measure_best(run);
    const auto flaws = find_flaws(results);
    info("{} validation images: {}", results.images,
         flaws.empty() ? "nothing to warn of" : "what to know of this model" + to_text(flaws));
  }
  info("model: {}", run);
}

void run_train(const TrainArguments& arguments) {
  if (!arguments.resume.empty()) {
    if (!arguments.data.empty() || !arguments.out.empty() || arguments.options->any_given())
      fail(ErrorCode::kUsage,
           "--resume {} goes on with the data and options stored in the run: give nothing else",
           arguments.resume);
    resume_run(arguments.resume, make_validation);
    return conclude(arguments.resume);
  }
  if (arguments.data.empty() || arguments.out.empty())
    fail(ErrorCode::kUsage, "train needs a folder of images and --out RUN, or --resume RUN");
  const Config config = arguments.options->resolve();
  start_run(arguments.data, arguments.out, config, make_validation);
  conclude(arguments.out);
}

}  // namespace

void add_train_command(CLI::App& app) {
  auto* command = app.add_subcommand("train", "Train on a folder of labelled images");
  auto arguments = std::make_shared<TrainArguments>();
  command->add_option("DIR", arguments->data,
                      "folder with one folder of images per class, or a file of data pack");
  command->add_option("--out", arguments->out, "run folder to make")->type_name("RUN");
  command->add_option("--resume", arguments->resume, "go on with this run folder")
      ->type_name("RUN");
  arguments->options = std::make_unique<ConfigOptions>(
      *command, std::vector<std::string>{"model", "loss", "data", "train"});
  command->callback([arguments] { run_train(*arguments); });
}

}  // namespace flipside
