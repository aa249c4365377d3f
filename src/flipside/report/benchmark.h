#pragma once

#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "flipside/attack/suite.h"
#include "flipside/config/config.h"
#include "flipside/core/shard.h"
#include "flipside/data/dataset.h"

namespace flipside {

namespace fs = std::filesystem;

/// One row of the grid: a name and what is trained.
struct BenchmarkMethod {
  std::string name;
  Config config;
};

/// What `flipside benchmark` trains and measures.
struct Benchmark {
  fs::path data;
  Split split = Split::kTest;
  BenchmarkMethod judge;             ///< no name: nobody judges the counterfactuals
  int64_t maps = 0;                  ///< compare every map of a model on so many images; 0: do not
  std::vector<std::string> maps_of;  ///< names of the methods whose maps are compared; none: all
  int64_t attacked = 0;              ///< attack so many images; 0: do not
  SuiteOptions attacks;              ///< with which bounds and budget
  bool doubt = false;                ///< measure the scores of doubt
  std::vector<BenchmarkMethod> methods;
};

/// Reads a benchmark from TOML. `[benchmark]` has `data` (relative to the file), `split` (test),
/// `judge` (a method's name; it is trained once and judges the others) and `maps` (0; so many
/// images of each split, on whose masks the attribution methods are compared, `compare_methods`),
/// `maps_of` (all; names of methods with commas between: a frozen classifier has the maps of any),
/// `attacked` (0; so many images of the split are attacked by the suite at 1, 2, 4 and 8 / 255),
/// `attack_steps` and `attack_queries` (those of `SuiteOptions`) and `doubt` (false;
/// `measure_doubt`).
/// `[common]` has options of `train` for all, and every other section is a method of that name with
/// options of its own. In both, `config = "FILE"` (relative to this file) is read first. Throws
/// `Error(kConfig)` naming file and key.
Benchmark load_benchmark(const fs::path& file);

/// Trains every method with the seeds 1 to `seeds`, each into `out/<method>/seed<k>`, and the judge
/// with its own seed into `out/<judge>`; measures each into `evaluation.json` of its run once it is
/// trained; and writes `out/benchmark.json` and `out/benchmark.txt` (of attacked methods the curves
/// `robustness.svg` and `robustness_f1.svg` too) after every seed, over those done so far. What is
/// done is skipped (a run is measured again when other measures are asked for than its file has),
/// an interrupted training goes on. A shard trains and measures its share of the runs and writes no
/// table. Throws `Error(kUsage)` when a run in `out` was made with another configuration, or when
/// another process works on it.
void run_benchmark(const Benchmark& benchmark, int64_t seeds, const fs::path& out,
                   const Shard& shard = {});

/// Mean, standard deviation (n - 1) and values over seeds of every number in the evaluations of one
/// method, by its path ("/label_free/iou"); for accuracy, flips and IoU per image a bootstrap
/// interval over the images, drawn alike for all seeds; and each seed's `findings` (`find_flaws`).
nlohmann::ordered_json summarise(const std::vector<nlohmann::ordered_json>& evaluations);

}  // namespace flipside
