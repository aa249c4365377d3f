#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>
#include <optional>

#include "flipside/cli/commands.h"
#include "flipside/cli/config_options.h"
#include "flipside/core/error.h"
#include "flipside/core/file.h"
#include "flipside/data/loader.h"
#include "flipside/eval/doubt.h"
#include "flipside/eval/evaluator.h"
#include "flipside/eval/model_folder.h"
#include "flipside/report/doubt_plot.h"
#include "flipside/report/explained_masks.h"

namespace flipside {
namespace {

struct EvaluateArguments {
  DeviceChoice device = DeviceChoice::kAuto;
  std::string run, data, judge, json;
  std::optional<Precision> precision;
  Split split = Split::kTest;
  int64_t batch = 32;
  bool uncertainty = false, original_size = false;
  std::string foreign, plot;
  double eps = 4;  ///< in 1/255
};

/// The measures of uncertainty, with their plot where it is asked for.
DoubtResults run_doubt(const EvaluateArguments& arguments, const Model& model,
                       const ImageFolder& folder) {
  DoubtOptions options;
  options.split = arguments.split;
  options.foreign = arguments.foreign;
  options.eps = arguments.eps / 255;
  options.batch = arguments.batch;
  const DoubtResults doubt = measure_doubt(model, folder, options);
  if (!arguments.plot.empty()) atomic_write(arguments.plot, risk_coverage_svg(doubt));
  return doubt;
}

/// What is printed, and the same as JSON; parts are added where they are asked for.
struct Answer {
  std::string text;
  nlohmann::ordered_json json;

  template <typename Part>
  void add(const char* name, const Part& part) {
    text += to_text(part);
    json[name] = nlohmann::ordered_json::parse(to_json(part));
  }
};

void run_evaluate(const EvaluateArguments& arguments) {
  if (!arguments.uncertainty && !(arguments.foreign.empty() && arguments.plot.empty()))
    fail(ErrorCode::kUsage, "--foreign and --plot belong to --uncertainty: give it too");
  require_writable_result(arguments.json);
  Model model = load_model(arguments.run, resolve_device(arguments.device));
  if (arguments.original_size && model.config.model.kind != ModelKind::kCounterfactual)
    fail(ErrorCode::kUsage,
         "--original-size measures what explain makes of counterfactuals, and {} makes none; leave "
         "it out",
         arguments.run);
  if (arguments.precision) model.config.explain.generator_precision = *arguments.precision;
  ImageFolder folder = scan_for_model(arguments.data, model);
  if (arguments.uncertainty)
    for (const Split split : {Split::kVal, arguments.split})
      keep_pictures(folder, split, model.config.data);
  std::optional<Model> judge;
  if (!arguments.judge.empty())
    judge = load_model(arguments.judge, resolve_device(arguments.device));
  EvaluateOptions options;
  options.split = arguments.split;
  options.judge = judge ? &*judge : nullptr;
  options.batch = arguments.batch;
  options.progress = "evaluate";
  std::optional<ExplainedMaskScores> original;  // first, since a folder may not have what it takes
  if (arguments.original_size)
    original = score_explained_masks(Explainer(model), folder, arguments.split, options.judge);
  const Results results = evaluate(model, folder, options);
  Answer answer{to_text(results), nlohmann::ordered_json::parse(to_json(results))};
  if (original) answer.add("original_size", *original);
  if (arguments.uncertainty) answer.add("uncertainty", run_doubt(arguments, model, folder));
  const std::string json = answer.json.dump(2) + "\n";
  put_result(arguments.json, json, answer.text);
}

}  // namespace

void add_evaluate_command(CLI::App& app) {
  auto* command = app.add_subcommand("evaluate", "Measure a model on a folder of labelled images");
  auto arguments = std::make_shared<EvaluateArguments>();
  command->add_option("RUN", arguments->run, "run folder or checkpoint")->required();
  command
      ->add_option("DIR", arguments->data,
                   "folder with one folder of images per class, or a file of data pack")
      ->required();
  add_split_option(*command, arguments->split);
  command
      ->add_option("--judge", arguments->judge,
                   "run of an independent classifier that judges the counterfactuals")
      ->type_name("RUN");
  command->add_option("--json", arguments->json, "write JSON to this file; -: print it instead")
      ->type_name("FILE");
  command->add_option("--batch", arguments->batch, "images per pass (1 to 1024; default 32)")
      ->check(CLI::Range(1, 1024))
      ->type_name("");
  command->add_flag("--original-size", arguments->original_size,
                    "measure the masks and counterfactuals that explain writes too, at the "
                    "photographs' own size");
  command->add_flag("--uncertainty", arguments->uncertainty,
                    "measure the scores of doubt: wrong answers, attacked and strange images");
  command
      ->add_option("--foreign", arguments->foreign,
                   "with --uncertainty: images of something else that the model should doubt")
      ->type_name("DIR");
  command->add_option("--plot", arguments->plot, "with --uncertainty: write risk against coverage")
      ->type_name("FILE.svg");
  command
      ->add_option("--attack-eps", arguments->eps,
                   "with --uncertainty: bound of its attacks in 1/255 (default 4)")
      ->check(CLI::Range(0.0, 255.0))
      ->type_name("");
  add_precision_option(*command, arguments->precision);
  add_threads_option(*command);
  add_device_option(*command, arguments->device);
  command->callback([arguments] { run_evaluate(*arguments); });
}

}  // namespace flipside
