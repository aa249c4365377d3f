#include <CLI/CLI.hpp>
#include <cstdio>
#include <map>

#include "flipside/cli/commands.h"
#include "flipside/core/file.h"
#include "flipside/eval/evaluator.h"

namespace flipside {
namespace {

struct EvaluateArguments {
  std::string run, data, judge, json;
  Split split = Split::kTest;
  int64_t batch = 32;
};

void run_evaluate(const EvaluateArguments& arguments) {
  const Model model = load_model(arguments.run);
  // The run's own seed and fractions, so that a folder without splits is split as in training.
  DataConfig data = model.config.data;
  data.reference_class = model.class_names.at(model.reference_class);
  const ImageFolder folder = scan_image_folder(arguments.data, data, model.config.train.seed);
  std::optional<Model> judge;
  if (!arguments.judge.empty()) judge = load_model(arguments.judge);
  EvaluateOptions options;
  options.split = arguments.split;
  options.judge = judge ? &*judge : nullptr;
  options.batch = arguments.batch;
  const Results results = evaluate(model, folder, options);
  if (!arguments.json.empty() && arguments.json != "-")
    atomic_write(arguments.json, to_json(results));
  std::fputs((arguments.json == "-" ? to_json(results) : to_text(results)).c_str(), stdout);
}

}  // namespace

void add_evaluate_command(CLI::App& app) {
  auto* command = app.add_subcommand("evaluate", "Measure a model on a folder of labelled images");
  auto arguments = std::make_shared<EvaluateArguments>();
  command->add_option("RUN", arguments->run, "run folder or checkpoint")->required();
  command->add_option("DIR", arguments->data, "folder with one folder of images per class")
      ->required();
  command->add_option("--split", arguments->split, "test (default), val or train")
      ->transform(CLI::CheckedTransformer(std::map<std::string, Split>{
          {"train", Split::kTrain}, {"val", Split::kVal}, {"test", Split::kTest}}))
      ->type_name("SPLIT");
  command
      ->add_option("--judge", arguments->judge,
                   "run of an independent classifier that judges the counterfactuals")
      ->type_name("RUN");
  command->add_option("--json", arguments->json, "write JSON to this file; -: print it instead")
      ->type_name("FILE");
  command->add_option("--batch", arguments->batch, "images per pass (1 to 1024; default 32)")
      ->check(CLI::Range(1, 1024))
      ->type_name("");
  command->callback([arguments] { run_evaluate(*arguments); });
}

}  // namespace flipside
