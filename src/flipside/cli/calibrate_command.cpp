#include <CLI/CLI.hpp>
#include <cmath>

#include "flipside/cli/commands.h"
#include "flipside/cli/config_options.h"
#include "flipside/core/device.h"
#include "flipside/core/error.h"
#include "flipside/core/file.h"
#include "flipside/data/loader.h"
#include "flipside/eval/calibration.h"
#include "flipside/eval/model_folder.h"

namespace flipside {
namespace {

struct CalibrateArguments {
  DeviceChoice device = DeviceChoice::kAuto;
  std::string run, data, out;
  double coverage = 0;       // 0: as it was trained
  int64_t edge_radius = -1;  // below 0: as it was trained
};

std::string described(const Model& model) {
  const auto number = [](double value) {
    return std::isnan(value) ? std::string("-") : fmt::format("{:.4g}", value);
  };
  std::string text = fmt::format("masks: threshold {}", number(model.thresholds.label_free));
  if (!std::isnan(model.thresholds.tuned))
    text += fmt::format(" ({} by validation masks)", number(model.thresholds.tuned));
  if (model.thresholds.without_cast) text += ", casts of colour left out";
  if (const auto& rule = model.doubt_rule)
    text += fmt::format("; certain: {} at most {} (covers {})", rule->score,
                        number(rule->threshold), number(rule->coverage));
  return text;
}

void run_calibrate(const CalibrateArguments& arguments) {
  const fs::path run = arguments.run;
  const fs::path in_place = fs::is_directory(run) ? run / "best.safetensors" : run;
  const fs::path out = arguments.out.empty() ? in_place : fs::path(arguments.out);
  Checkpoint checkpoint = load_checkpoint(run);
  if (!checkpoint.extra.empty())
    fail(ErrorCode::kUsage,
         "{}: holds a training that may go on and would choose anew; give best.safetensors, or the "
         "run folder once that is there",
         run.string());
  require_writable(out);
  Model& model = checkpoint.model;
  model.to(resolve_device(arguments.device));
  model.eval();
  if (arguments.coverage > 0) model.config.train.coverage = arguments.coverage;
  if (arguments.edge_radius >= 0) model.config.explain.edge_radius = arguments.edge_radius;
  print_result("before  " + described(model) + "\n");
  ImageFolder folder = scan_for_model(arguments.data, model);
  keep_pictures(folder, Split::kVal, model.config.data);
  calibrate(model, folder);
  print_result("now     " + described(model) + "\n");
  save_checkpoint(out, model);
}

}  // namespace

void add_calibrate_command(CLI::App& app) {
  auto* command = app.add_subcommand(
      "calibrate",
      "Choose the thresholds of masks and of doubt anew on validation images, without training");
  auto arguments = std::make_shared<CalibrateArguments>();
  command->add_option("RUN", arguments->run, "run folder or checkpoint")->required();
  command
      ->add_option("DIR", arguments->data,
                   "folder of labelled images, of which the split val is used, or a file of data "
                   "pack")
      ->required();
  command->add_option("--out", arguments->out, "checkpoint to write (default: RUN's own, replaced)")
      ->type_name("FILE");
  command
      ->add_option("--coverage", arguments->coverage,
                   "share of the images whose answers count as certain (default: as trained)")
      ->check(CLI::Range(0.01, 1.0))
      ->type_name("");
  command
      ->add_option("--edge-radius", arguments->edge_radius,
                   "fit maps to the image's edges within so many pixels of the networks' size; 0: "
                   "not at all (default: as trained)")
      ->check(CLI::Range(0, 64))
      ->type_name("");
  add_threads_option(*command);
  add_device_option(*command, arguments->device);
  command->callback([arguments] { run_calibrate(*arguments); });
}

}  // namespace flipside
