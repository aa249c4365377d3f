#pragma once

#include <cstdint>
#include <functional>
#include <string>

namespace flipside {

/// Where this process stands among those that a launcher started together, each on a share of one
/// training.
struct Launch {
  int64_t rank = 0, size = 1;              ///< rank in [0, size)
  int64_t local_rank = 0, local_size = 1;  ///< among the processes on this machine
  std::string address = "127.0.0.1";       ///< of the machine of rank 0
  int64_t port = 29500;
  int64_t timeout = 600;  ///< seconds to wait for another process
  /// Set where the launcher itself listens at `address`; keeps restarts of the job apart.
  bool launcher_listens = false;
  int64_t attempt = 0;
};

/// Gives an environment variable's value, or null.
using Environment = std::function<const char*(const char* name)>;

/// What the environment says, from the first of these that is there (docs/overview.md, "More than
/// one process"):
///   RANK, WORLD_SIZE (LOCAL_RANK, LOCAL_WORLD_SIZE)                        torchrun and others
///   OMPI_COMM_WORLD_RANK, OMPI_COMM_WORLD_SIZE (.._LOCAL_RANK, .._SIZE)    Open MPI's mpirun
///   SLURM_PROCID, SLURM_STEP_NUM_TASKS (SLURM_LOCALID)                     Slurm's srun
/// and for all of them MASTER_ADDR, MASTER_PORT and FLIPSIDE_TIMEOUT (seconds). A process on its
/// own where nothing is there. Throws `Error(kUsage)` for values that are no such numbers, and
/// where the address of rank 0 is not known.
Launch read_launch(const Environment& environment);
/// The same from this process's environment.
Launch read_launch();

/// The first machine of a list such as "gpu[03-05,9],cpu1", as Slurm writes them: "gpu03".
std::string first_host(const std::string& list);

}  // namespace flipside
