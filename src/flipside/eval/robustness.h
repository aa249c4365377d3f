#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "flipside/attack/suite.h"
#include "flipside/attack/warnings.h"
#include "flipside/data/dataset.h"
#include "flipside/data/loader.h"
#include "flipside/eval/intervals.h"

namespace flipside {

/// The name of the scores that take the worst answer to each image over all attacks.
inline const char* const kWorstCase = "worst case";

/// Scores at one bound after one attack; 95 % intervals by Wilson, of macro F1 by bootstrap.
struct RobustnessScores {
  double eps = 0;
  std::string attack;   ///< or `kWorstCase`
  bool alone = false;   ///< this attack alone; else what it and those before it have left
  double accuracy = 0;  ///< right answers of all images; a rejection is not right
  Interval accuracy_interval;
  double macro_f1 = 0;  ///< of the images that are not rejected
  Interval macro_f1_interval;
  double accepted = 0;           ///< share not rejected
  double accepted_accuracy = 0;  ///< right of those; NaN when all are rejected
  double defended = 0;           ///< share right or rejected
  Interval defended_interval;
};

/// One victim under a suite of attacks.
struct Robustness {
  std::string name;  ///< what was attacked, in words
  bool rejects = false;
  std::vector<RobustnessScores> scores;  ///< without attack, then per bound each attack and the
                                         ///< worst case
  std::vector<Warning> warnings;
};

/// At most `limit` images of a split (0: all), spread evenly over it, with their labels. Throws
/// `Error(kData)` for a split without readable images.
Batch spread_images(const ImageFolder& folder, const DataConfig& config, Split split,
                    int64_t limit);

/// `run_suite` with a progress line; `save`, where given, is called with the record so far after
/// every batch.
SuiteRecord attack_with_progress(const std::string& title, const Victim& victim,
                                 const Victim& judge, const Batch& images,
                                 const SuiteOptions& options, SuiteRecord record = {},
                                 const std::function<void(const SuiteRecord&)>& save = {});

/// Scores of a finished record, at the bounds `eps`. NaN for no images.
Robustness summarise(const SuiteRecord& record, const std::vector<double>& eps,
                     const std::string& name, std::vector<Warning> warnings);

/// The same at the bounds of `options`, with every warning: what the victim itself shows on the
/// images and what the record shows.
Robustness summarise_with_warnings(const SuiteRecord& record, const std::string& name,
                                   const Victim& victim, const Batch& images,
                                   const SuiteOptions& options);

/// What `flipside attack` reports.
struct RobustnessReport {
  Norm norm = Norm::kLinf;
  std::string split;
  int64_t images = 0;
  std::vector<std::string> class_names;
  SuiteOptions options;
  std::optional<double> reject_threshold;
  std::vector<Robustness> victims;
};

std::string to_text(const RobustnessReport& report);
std::string to_json(const RobustnessReport& report);

}  // namespace flipside
