#include <CLI/CLI.hpp>
#include <charconv>
#include <cmath>
#include <optional>

#include "flipside/cli/commands.h"
#include "flipside/cli/config_options.h"
#include "flipside/core/device.h"
#include "flipside/core/error.h"
#include "flipside/core/file.h"
#include "flipside/core/log.h"
#include "flipside/eval/comparison.h"
#include "flipside/report/attribution_files.h"
#include "flipside/report/explain_files.h"

namespace flipside {
namespace {

struct ExplainArguments {
  DeviceChoice device = DeviceChoice::kAuto;
  std::string run, out, target, scale = "auto";
  std::string method = "counterfactual", setting, sign = "positive";
  std::vector<std::string> inputs;
  Shard shard;
  double sensitivity = 1.0;
  bool single_view = false;
  std::optional<Precision> precision;
  int64_t batch = 16, window = 0, layer = -1;
  std::optional<double> mm_per_pixel;
};

/// "auto", "fit" or pixels of the networks per pixel of the image.
Scaling parse_scale(const std::string& text) {
  if (text == "auto") return {Scaling::Mode::kAuto, 1.0};
  if (text == "fit") return {Scaling::Mode::kFit, 1.0};
  double factor = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), factor);
  if (error != std::errc() || end != text.data() + text.size() || !(factor > 0) ||
      !std::isfinite(factor))
    fail(ErrorCode::kUsage,
         "--scale {}: must be a number > 0 (pixels of the networks per pixel of the image), fit or "
         "auto",
         text);
  return {Scaling::Mode::kScale, factor};
}

int64_t write_counterfactuals(Model model, const std::vector<ImageFile>& files,
                              const ExplainArguments& arguments) {
  const Scaling scaling = parse_scale(arguments.scale);
  const double mm_per_pixel = arguments.mm_per_pixel.value_or(1.0);
  if (!(mm_per_pixel > 0) || !std::isfinite(mm_per_pixel))
    fail(ErrorCode::kUsage, "--mm-per-pixel {}: must be > 0, the size of one pixel of the images",
         mm_per_pixel);
  if (arguments.single_view) model.config.explain.average_views = false;
  if (arguments.precision) model.config.explain.generator_precision = *arguments.precision;
  const Explainer explainer(std::move(model), arguments.sensitivity);
  ExplainFilesOptions options;
  options.batch = arguments.batch;
  options.scaling = scaling;
  options.window = arguments.window;
  options.shard = arguments.shard;
  options.mm_per_pixel = arguments.mm_per_pixel.value_or(0.0);
  if (!arguments.target.empty()) options.target = explainer.class_index(arguments.target);
  const ExplainedFiles counts = explain_files(explainer, files, arguments.out, options);
  if (const auto& rule = explainer.model().doubt_rule; rule && counts.doubtful > 0)
    info(
        "look yourself at {}, first on the contact sheet: doubt ({}) above {:.3g} (\"certain\": "
        "false in results.jsonl)",
        counts.doubtful == 1 ? "one image" : fmt::format("{} images", counts.doubtful),
        rule->score == "answer" ? "1 - probability" : rule->score, rule->threshold);
  if (counts.seen < static_cast<int64_t>(files.size()))
    fail(ErrorCode::kIo, "stopped after {} of {} images, whose results are in {}", counts.seen,
         files.size(), arguments.out);
  return counts.unreadable;
}

int64_t write_maps(const Model& model, const std::vector<ImageFile>& files,
                   AttributionMethod method, const ExplainArguments& arguments) {
  AttributionFilesOptions options;
  options.method = method;
  options.batch = arguments.batch;
  options.shard = arguments.shard;
  options.sensitivity = arguments.sensitivity;
  options.setting.sign = sign_named(arguments.sign);
  options.setting.attribution.layer = arguments.layer;
  if (!arguments.setting.empty()) {
    const StoredSetting stored = stored_setting(read_file(arguments.setting), method);
    options.setting = stored.setting;
    options.threshold = stored.tuned;
  }
  if (!arguments.target.empty()) options.target = class_index(model, arguments.target);
  return attribute_files(model, files, arguments.out, options);
}

/// Throws `Error(kUsage)` for an option that would change nothing of what is asked for.
void require_options_of(AttributionMethod method, const CLI::App& command) {
  const bool is_own = method == AttributionMethod::kCounterfactual;
  const std::vector<const char*> others =
      is_own ? std::vector<const char*>{"--setting", "--layer", "--sign"}
             : std::vector<const char*>{"--single-view", "--precision", "--scale", "--window",
                                        "--mm-per-pixel"};
  for (const char* option : others)
    if (command.count(option) > 0)
      fail(ErrorCode::kUsage, "{}: {}; leave it out", option,
           is_own ? "is for maps of another --method, and this one has no such setting"
                  : "is for counterfactuals; the maps of this --method are of whole images, each "
                    "seen once at the training size");
  for (const char* option : {"--layer", "--sign"})
    if (command.count("--setting") > 0 && command.count(option) > 0)
      fail(ErrorCode::kUsage, "{}: the file of --setting says which; leave one of them out",
           option);
}

void run_explain(const ExplainArguments& arguments, const CLI::App& command) {
  if (!(arguments.sensitivity > 0))
    fail(ErrorCode::kUsage, "--sensitivity {}: must be > 0; 1 is the trained threshold",
         arguments.sensitivity);
  const AttributionMethod method = method_named(arguments.method);
  require_options_of(method, command);
  Model model = load_model(arguments.run, resolve_device(arguments.device));
  const auto files =
      files_of(arguments.shard,
               list_images({arguments.inputs.begin(), arguments.inputs.end()}, arguments.out));
  const int64_t unreadable = method == AttributionMethod::kCounterfactual
                                 ? write_counterfactuals(std::move(model), files, arguments)
                                 : write_maps(model, files, method, arguments);
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
  command
      ->add_option("RUN", arguments->run, "run folder or checkpoint; a classifier needs --method")
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
      ->add_option(
          "--method", arguments->method,
          "map to show: counterfactual (default), grad_cam, grad_cam_pp, layer_cam, "
          "integrated_gradients, input_x_gradient, smooth_grad, rise, occlusion, darkness; "
          "all but the first work on classifiers too, with --target the class explained "
          "(default: the predicted one)")
      ->type_name("NAME");
  command
      ->add_option("--setting", arguments->setting,
                   "take the method's setting and threshold from this file of compare --json "
                   "(default: the library's, threshold by Otsu on each image)")
      ->type_name("FILE");
  command->add_option("--layer", arguments->layer, "of the CAMs: level of the network (-1: last)")
      ->type_name("");
  command->add_option("--sign", arguments->sign, "positive (default), negative or absolute")
      ->type_name("");
  command
      ->add_option("--sensitivity", arguments->sensitivity,
                   "2 marks changes twice as faint as the trained threshold, 0.5 half (> 0; "
                   "default 1)")
      ->type_name("");
  command->add_flag("--single-view", arguments->single_view,
                    "explain each image as it is, without the average over mirrored and turned "
                    "views: faster, rougher masks");
  add_precision_option(*command, arguments->precision);
  command
      ->add_option("--scale", arguments->scale,
                   "pixels of the networks per pixel of the image: large images are explained in "
                   "windows of the training size. fit: every image is stretched whole; auto "
                   "(default): fit up to 1.5 times the longest training image, beyond that the "
                   "scale of training")
      ->type_name("SCALE");
  command
      ->add_option("--window", arguments->window,
                   "side of the windows in pixels of the networks (default: the training size)")
      ->check(CLI::Range(0, 1 << 14))
      ->type_name("");
  command
      ->add_option("--mm-per-pixel", arguments->mm_per_pixel,
                   "size of a pixel of the images, for measures in mm (> 0)")
      ->type_name("");
  add_shard_option(*command, arguments->shard,
                   "explain only every N-th image, from the I-th on (I from 1 to N), into "
                   "results.I-of-N.jsonl and defects.I-of-N.csv: N machines share a folder");
  command->add_option("--batch", arguments->batch, "images per pass (1 to 1024; default 16)")
      ->check(CLI::Range(1, 1024))
      ->type_name("");
  add_threads_option(*command);
  add_device_option(*command, arguments->device);
  command->callback([arguments, command] { run_explain(*arguments, *command); });
}

}  // namespace flipside
