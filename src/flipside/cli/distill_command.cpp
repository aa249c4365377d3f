#include <CLI/CLI.hpp>

#include "flipside/cli/commands.h"
#include "flipside/cli/config_options.h"
#include "flipside/core/device.h"
#include "flipside/core/error.h"
#include "flipside/core/file.h"
#include "flipside/core/log.h"
#include "flipside/data/loader.h"
#include "flipside/eval/calibration.h"
#include "flipside/eval/distillation.h"
#include "flipside/eval/model_folder.h"

namespace flipside {
namespace {

struct DistillArguments {
  DeviceChoice device = DeviceChoice::kAuto;
  std::string run, data, out;
  DistillOptions options;
};

void run_distill(const DistillArguments& arguments) {
  if (fs::is_directory(arguments.out))
    fail(ErrorCode::kUsage, "{}: is a folder; --out names the file to write, such as {}",
         arguments.out, (fs::path(arguments.out) / "one.safetensors").string());
  require_writable(arguments.out);
  const Model teacher = load_model(arguments.run, resolve_device(arguments.device));
  ImageFolder folder = scan_for_model(arguments.data, teacher);
  Model student = distil(teacher, folder, arguments.options);
  keep_pictures(folder, Split::kVal, student.config.data);
  info("choosing the rule of doubt on the validation images");
  calibrate(student, folder);
  // The student was taught the teacher's maps: what was to be marked there is to be marked here.
  // Thresholds of its own lie higher and leave more of a defect's rim.
  const double tuned = student.thresholds.tuned;
  student.thresholds = teacher.thresholds;
  student.thresholds.tuned = tuned;
  save_checkpoint(arguments.out, student);
  info("model: {}", arguments.out);
}

}  // namespace

void add_distill_command(CLI::App& app) {
  auto* command = app.add_subcommand(
      "distill",
      "Teach the generator to give in one pass what the mean over an image's views gives");
  auto arguments = std::make_shared<DistillArguments>();
  command->add_option("RUN", arguments->run, "run folder or checkpoint")->required();
  command
      ->add_option("DIR", arguments->data,
                   "folder of labelled images (train and val are used), or a file of data pack")
      ->required();
  command->add_option("--out", arguments->out, "checkpoint to write")
      ->required()
      ->type_name("FILE");
  command->add_option("--steps", arguments->options.steps, "optimiser steps")
      ->capture_default_str()
      ->check(CLI::Range(int64_t{1}, int64_t{1000000000}))
      ->type_name("");
  command->add_option("--seed", arguments->options.seed, "seed of the images' order and variation")
      ->capture_default_str()
      ->type_name("");
  add_threads_option(*command);
  add_device_option(*command, arguments->device);
  command->callback([arguments] { run_distill(*arguments); });
}

}  // namespace flipside
