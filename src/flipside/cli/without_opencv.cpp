// In place of the commands that read or write pictures, where FLIPSIDE_OPENCV is off: they are
// known by name and say why they cannot be had.
#include <CLI/CLI.hpp>

#include "flipside/cli/commands.h"
#include "flipside/core/error.h"

namespace flipside {
namespace {

void add_absent_command(CLI::App& app, const std::string& name) {
  auto* command = app.add_subcommand(name, "(not in this build: it needs OpenCV)");
  command->allow_extras();
  command->callback([name] {
    fail(ErrorCode::kUsage,
         "{}: this flipside was built without OpenCV, which reads and writes pictures; build it "
         "with -DFLIPSIDE_OPENCV=ON, or take the run to a machine that has it",
         name);
  });
}

}  // namespace

void add_data_command(CLI::App& app) { add_absent_command(app, "data"); }
void add_explain_command(CLI::App& app) { add_absent_command(app, "explain"); }
void add_report_command(CLI::App& app) { add_absent_command(app, "report"); }
void add_synth_command(CLI::App& app) { add_absent_command(app, "synth"); }

}  // namespace flipside
