#include <CLI/CLI.hpp>

#include "flipside/cli/commands.h"
#include "flipside/core/device.h"
#include "flipside/core/error.h"
#include "flipside/core/log.h"
#include "flipside/report/explain_files.h"

namespace flipside {
namespace {

struct ExplainArguments {
  std::string run, out, target;
  std::vector<std::string> inputs;
  double sensitivity = 1.0;
  int64_t batch = 16;
  int threads = 0;
};

void run_explain(const ExplainArguments& arguments) {
  if (arguments.threads > 0) configure_runtime(arguments.threads);
  if (!(arguments.sensitivity > 0))
    fail(ErrorCode::kUsage, "--sensitivity {}: must be > 0; 1 is the trained threshold",
         arguments.sensitivity);
  const Explainer explainer(load_model(arguments.run), arguments.sensitivity);
  ExplainFilesOptions options;
  options.batch = arguments.batch;
  if (!arguments.target.empty()) options.target = explainer.class_index(arguments.target);
  const auto files = list_images({arguments.inputs.begin(), arguments.inputs.end()}, arguments.out);
  const int64_t unreadable = explain_files(explainer, files, arguments.out, options);
  info("{} images explained into {}", static_cast<int64_t>(files.size()) - unreadable,
       arguments.out);
  if (unreadable > 0)
    fail(ErrorCode::kImage,
         "{} of {} images could not be read and were skipped; they are named above", unreadable,
         files.size());
}

}  // namespace

void add_explain_command(CLI::App& app) {
  auto* command = app.add_subcommand("explain", "Class, counterfactual and defect mask of images");
  auto arguments = std::make_shared<ExplainArguments>();
  command->add_option("RUN", arguments->run, "run folder or checkpoint of a counterfactual model")
      ->required();
  command->add_option("IMAGE", arguments->inputs, "image files and folders of images")->required();
  command->add_option("--out", arguments->out, "folder for results.jsonl and the pictures")
      ->required()
      ->type_name("OUT");
  command
      ->add_option("--target", arguments->target,
                   "class of the counterfactuals (default: the reference class for defects, the "
                   "most probable defect class for good parts)")
      ->type_name("CLASS");
  command
      ->add_option("--sensitivity", arguments->sensitivity,
                   "2 marks changes twice as faint as the trained threshold, 0.5 half (> 0; "
                   "default 1)")
      ->type_name("");
  command->add_option("--batch", arguments->batch, "images per pass (1 to 1024; default 16)")
      ->check(CLI::Range(1, 1024))
      ->type_name("");
  command->add_option("--threads", arguments->threads, "0: one per processor (default)")
      ->check(CLI::Range(0, 1024))
      ->type_name("");
  command->callback([arguments] { run_explain(*arguments); });
}

}  // namespace flipside
