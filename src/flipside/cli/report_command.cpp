#include <CLI/CLI.hpp>

#include "flipside/cli/commands.h"
#include "flipside/cli/config_options.h"
#include "flipside/core/error.h"
#include "flipside/core/file.h"
#include "flipside/core/log.h"
#include "flipside/report/run_report.h"

namespace flipside {
namespace {

struct ReportArguments {
  std::vector<std::string> runs;
  std::string data, judge, out;
  ReportOptions options;
};

void run_report_command(ReportArguments arguments) {
  if (fs::is_directory(arguments.out))
    fail(ErrorCode::kUsage, "--out {}: is a folder; name the page to write in it", arguments.out);
  require_writable(arguments.out);
  ReportOptions& options = arguments.options;
  options.data = arguments.data;
  options.judge = arguments.judge;
  const std::vector<fs::path> runs(arguments.runs.begin(), arguments.runs.end());
  options.command = report_command(runs, options, arguments.out);
  const std::string page = run_report(runs, options);
  atomic_write(arguments.out, page);
  info("report: {} ({:.1f} MB)", arguments.out, static_cast<double>(page.size()) / 1e6);
}

}  // namespace

void add_report_command(CLI::App& app) {
  auto* command = app.add_subcommand("report", "Write one HTML page about one run or several");
  auto arguments = std::make_shared<ReportArguments>();
  command->add_option("RUN", arguments->runs, "run folders")->required();
  command->add_option("--out", arguments->out, "page to write")->required()->type_name("FILE.html");
  command
      ->add_option("--data", arguments->data,
                   "images to measure on (default: those that each run was trained on)")
      ->type_name("DIR");
  add_split_option(*command, arguments->options.split);
  command
      ->add_option("--judge", arguments->judge,
                   "run of an independent classifier that judges the counterfactuals")
      ->type_name("RUN");
  command
      ->add_option("--images", arguments->options.images,
                   "pictures at most in each list (1 to 1000; default 6)")
      ->check(CLI::Range(1, 1000))
      ->type_name("");
  command->callback([arguments] { run_report_command(*arguments); });
}

}  // namespace flipside
