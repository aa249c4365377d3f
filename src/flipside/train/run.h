#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <string>

#include "flipside/data/dataset.h"
#include "flipside/train/trainer.h"

namespace flipside {

/// What a validation found. `score` in [0,1] decides which model is "best"; it must come from
/// labels alone, never from masks. The validation also stores thresholds in the model it is given.
struct ValidationScores {
  double score = 0;
  std::vector<std::pair<std::string, double>> values;  ///< for the log, in the order to print
};

/// Called at intervals with the averaged model and the number of steps done.
using Validate = std::function<ValidationScores(Model& model, int64_t step)>;
/// Makes the validation for a data set; `folder` outlives what it returns.
using MakeValidate = std::function<Validate(const ImageFolder& folder, const fs::path& run)>;

/// What `run.json` of a run directory says.
struct RunAbout {
  fs::path data;        ///< folder of images that it was trained on
  std::string version;  ///< of the program; "" where it is not said
};

/// Throws `Error(kUsage)` for a folder that is no run, `Error(kCheckpoint)` for a broken run.json.
RunAbout read_about(const fs::path& run);

/// A run directory:
///   run.json            data folder, version, command
///   config.toml         the resolved configuration
///   metrics.jsonl       losses each 50 steps and every validation, one JSON object a line
///   last.safetensors    model and training state, each `checkpoint_every` steps
///   best.safetensors    the model with the best validation score
///   samples/            what `Validate` draws
///
/// Trains a model of `config` on the images below `data` into the new folder `run`. Throws
/// `Error(kUsage)` when `run` is there already (remedy: --resume), and what data and checkpoints
/// throw. SIGINT and SIGTERM write a checkpoint first and then throw `Error(kIo)`.
void start_run(const fs::path& data, const fs::path& run, const Config& config,
               const MakeValidate& make_validate);

/// Continues `run` from its last checkpoint (or from the start, if there is none yet) with the
/// configuration stored there. On the CPU with equally many threads it ends in exactly the weights
/// of an uninterrupted run. A finished run is left as it is and said so.
void resume_run(const fs::path& run, const MakeValidate& make_validate);

}  // namespace flipside
