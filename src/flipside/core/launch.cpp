#include "flipside/core/launch.h"

#include <charconv>
#include <cstdlib>
#include <optional>
#include <string_view>

#include "flipside/core/error.h"

namespace flipside {
namespace {

/// Typed reading of variables.
class Variables {
 public:
  explicit Variables(const Environment& environment) : environment_(environment) {}

  bool has(const char* name) const {
    const char* text = environment_(name);
    return text && *text;
  }
  std::string text(const char* name) const { return has(name) ? environment_(name) : ""; }
  int64_t number(const char* name, int64_t low, int64_t high, int64_t otherwise) const {
    if (!has(name)) return otherwise;
    const std::string_view digits = environment_(name);
    int64_t value = 0;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
    if (error != std::errc() || end != digits.data() + digits.size() || value < low || value > high)
      fail(ErrorCode::kUsage,
           "environment variable {} = {}: must be a whole number from {} to {}; it is the "
           "launcher's to set",
           name, digits, low, high);
    return value;
  }

 private:
  const Environment& environment_;
};

/// The names by which one launcher tells its processes apart; null where it has none.
struct Launcher {
  const char *rank, *size, *local_rank, *local_size;
};
constexpr Launcher kLaunchers[] = {
    {"RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"},
    {"OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK",
     "OMPI_COMM_WORLD_LOCAL_SIZE"},
    // Not SLURM_NTASKS: a batch script that starts no srun has it too, and runs once.
    {"SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID", nullptr},
};
constexpr int64_t kMostProcesses = 1 << 16;

/// Processes per machine where the launcher does not say it.
int64_t local_size(const Variables& variables, const Launcher& launcher, const Launch& launch) {
  if (launcher.local_size)
    return variables.number(launcher.local_size, 1, launch.size, launch.local_size);
  const int64_t machines = variables.number("SLURM_STEP_NUM_NODES", 1, launch.size, launch.size);
  return (launch.size + machines - 1) / machines;
}

std::string master_address(const Variables& variables, const Launch& launch) {
  if (variables.has("MASTER_ADDR")) return variables.text("MASTER_ADDR");
  if (launch.local_size == launch.size) return "127.0.0.1";
  if (variables.has("SLURM_STEP_NODELIST"))
    return first_host(variables.text("SLURM_STEP_NODELIST"));
  fail(ErrorCode::kUsage,
       "{} processes on more than one machine, and MASTER_ADDR is not set: set it to the address "
       "of the machine of process 0 (mpirun -x MASTER_ADDR=HOST ...)",
       launch.size);
}

}  // namespace

std::string first_host(const std::string& list) {
  const size_t end = list.find_first_of("[,");
  std::string host = list.substr(0, end);
  if (end == std::string::npos || list[end] == ',') return host;
  const size_t stop = list.find_first_of("-,]", end + 1);
  return host + list.substr(end + 1, stop == std::string::npos ? stop : stop - end - 1);
}

Launch read_launch(const Environment& environment) {
  const Variables variables(environment);
  Launch launch;
  for (const Launcher& launcher : kLaunchers) {
    if (!variables.has(launcher.rank) || !variables.has(launcher.size)) continue;
    launch.size = variables.number(launcher.size, 1, kMostProcesses, 1);
    launch.rank = variables.number(launcher.rank, 0, launch.size - 1, 0);
    if (launch.size == 1) return launch;
    launch.local_rank = variables.number(launcher.local_rank, 0, launch.size - 1, 0);
    launch.local_size = local_size(variables, launcher, launch);
    launch.address = master_address(variables, launch);
    launch.port = variables.number("MASTER_PORT", 1, 65535, launch.port);
    launch.timeout = variables.number("FLIPSIDE_TIMEOUT", 1, 1 << 20, launch.timeout);
    launch.launcher_listens = variables.text("TORCHELASTIC_USE_AGENT_STORE") == "True";
    launch.attempt = variables.number("TORCHELASTIC_RESTART_COUNT", 0, 1 << 20, 0);
    return launch;
  }
  return launch;
}

Launch read_launch() {
  return read_launch([](const char* name) { return std::getenv(name); });
}

}  // namespace flipside
