#include <CLI/CLI.hpp>

#include "flipside/cli/commands.h"
#include "flipside/cli/config_options.h"
#include "flipside/core/device.h"
#include "flipside/core/file.h"
#include "flipside/eval/comparison.h"
#include "flipside/eval/model_folder.h"

namespace flipside {
namespace {

struct CompareArguments {
  DeviceChoice device = DeviceChoice::kAuto;
  std::string run, data, json;
  std::vector<std::string> methods;
  CompareOptions options;
};

void run_compare(const CompareArguments& arguments) {
  CompareOptions options = arguments.options;
  for (const auto& name : arguments.methods) options.methods.push_back(method_named(name));
  require_writable_result(arguments.json);
  const Model model = load_model(arguments.run, resolve_device(arguments.device));
  const ImageFolder folder = scan_for_model(arguments.data, model);
  const Comparison comparison = compare_methods(model, folder, options);
  put_result(arguments.json, to_json(comparison), to_text(comparison));
}

}  // namespace

void add_compare_command(CLI::App& app) {
  auto* command = app.add_subcommand(
      "compare", "Attribution methods side by side on masks, settings chosen on validation data");
  auto arguments = std::make_shared<CompareArguments>();
  CompareOptions& options = arguments->options;
  command->add_option("RUN", arguments->run, "run folder or checkpoint: counterfactual, classifier")
      ->required();
  command
      ->add_option("DIR", arguments->data,
                   "folder of labelled images with masks, or a file of data pack")
      ->required();
  add_split_option(*command, options.split);
  command
      ->add_option("--methods", arguments->methods,
                   "names with commas between (default: all): counterfactual, grad_cam, "
                   "grad_cam_pp, layer_cam, integrated_gradients, input_x_gradient, smooth_grad, "
                   "rise, occlusion, darkness")
      ->delimiter(',')
      ->type_name("NAMES");
  command
      ->add_option("--limit", options.limit,
                   "at most so many images of each split, evenly chosen (0: all, default)")
      ->check(CLI::Range(int64_t{0}, int64_t{1} << 40))
      ->type_name("");
  command->add_option("--masks", options.masks, "random masks of RISE (1 to 100000; default 500)")
      ->check(CLI::Range(1, 100000))
      ->type_name("");
  command->add_flag("--randomisation", options.randomisation,
                    "also draw the layers anew one by one and see whether the maps change");
  command->add_option("--json", arguments->json, "write JSON to this file; -: print it instead")
      ->type_name("FILE");
  command->add_option("--batch", options.batch, "images per pass (1 to 1024; default 32)")
      ->check(CLI::Range(1, 1024))
      ->type_name("");
  add_threads_option(*command);
  add_device_option(*command, arguments->device);
  command->callback([arguments] { run_compare(*arguments); });
}

}  // namespace flipside
