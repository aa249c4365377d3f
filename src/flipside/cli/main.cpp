#include <CLI/CLI.hpp>
#include <cstdio>

#include "flipside/cli/commands.h"
#include "flipside/core/device.h"
#include "flipside/core/error.h"
#include "flipside/core/torch.h"

namespace {

int complain(const std::string& message, int exit_code) {
  std::fprintf(stderr, "flipside: %s\n", message.c_str());
  return exit_code;
}

/// "a, b, c": every command.
std::string command_names(const CLI::App& app) {
  std::string names;
  for (const CLI::App* command : app.get_subcommands({}))
    names += (names.empty() ? "" : ", ") + command->get_name();
  return names;
}

/// Throws `Error(kUsage)` where the first word is none of the commands.
void require_command(const CLI::App& app, int argc, char** argv) {
  if (argc < 2 || argv[1][0] == '-') return;
  for (const CLI::App* command : app.get_subcommands({}))
    if (command->get_name() == argv[1]) return;
  flipside::fail(flipside::ErrorCode::kUsage, "{}: no such command; there are {}", argv[1],
                 command_names(app));
}

}  // namespace

int main(int argc, char** argv) {
  using namespace flipside;
  CLI::App app("Visual inspection that explains itself, from image labels alone", "flipside");
  app.set_version_flag("--version", FLIPSIDE_VERSION);
  app.require_subcommand(1);
  app.failure_message(CLI::FailureMessage::simple);
  try {
    configure_runtime();
    add_commands(app);
    require_command(app, argc, argv);
    app.parse(argc, argv);
    return 0;
  } catch (const CLI::Success& help) {
    return app.exit(help);
  } catch (const CLI::ParseError& error) {
    return complain(std::string(error.what()) + "; see flipside --help", 2);
  } catch (const Error& error) {
    return complain(error.what(), error.exit_code());
  } catch (const c10::Error& error) {
    return complain(error.what_without_backtrace(), 1);
  } catch (const std::exception& error) {
    return complain(error.what(), 1);
  }
}
