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
/// Makes the validation for a data set; `folder` outlives what it returns. In a group every process
/// calls the validation at the same steps, and the first one's score counts.
using MakeValidate = std::function<Validate(const ImageFolder& folder, const fs::path& run,
                                            const ProcessGroup& group)>;

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
///
/// Where a launcher started several processes (`read_launch`), they train one model together: each
/// takes its share of every batch of `train.batch` images, and the first one alone writes `run`.
/// All need the images and the same options; only the first one needs the run folder. When one of
/// them is lost the others throw `Error(kIo)`, and the run can be resumed.
void start_run(const fs::path& data, const fs::path& run, const Config& config,
               const MakeValidate& make_validate);

/// Continues `run` from its last checkpoint (or from the start, if there is none yet) with the
/// configuration stored there. On the CPU with equally many threads it ends in exactly the weights
/// of an uninterrupted run. A finished run is left as it is and said so. The number of processes
/// may be another one than before.
void resume_run(const fs::path& run, const MakeValidate& make_validate);

}  // namespace flipside
