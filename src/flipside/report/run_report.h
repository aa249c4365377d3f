#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "flipside/data/dataset.h"

namespace flipside {

struct ReportOptions {
  fs::path data;  ///< images to measure on; empty: those that each run was trained on
  Split split = Split::kTest;
  fs::path judge;       ///< run of an independent classifier that judges the flips; empty: none
  int64_t images = 6;   ///< pictures at most in each list of failures, > 0
  int64_t batch = 32;   ///< images per pass, > 0
  std::string command;  ///< shown as what made the page; empty: not shown
};

/// The command line that writes the page to `out`, as a shell takes it.
std::string report_command(const std::vector<fs::path>& runs, const ReportOptions& options,
                           const fs::path& out);

/// One HTML page about one run or several side by side: figures, pictures, failures, curves and
/// configuration. It needs no other file, no network and no script. Memory does not grow with the
/// data: the images shown are read again once it is known which they are.
///
/// Throws, before anything is measured, `Error(kUsage)` for no run and for a folder that is none,
/// and `Error(kData)` where the data is gone; and what `load_model` and `evaluate` throw.
std::string run_report(const std::vector<fs::path>& runs, const ReportOptions& options);

}  // namespace flipside
