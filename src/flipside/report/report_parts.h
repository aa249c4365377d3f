#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "flipside/eval/image_scores.h"
#include "flipside/report/html.h"
#include "flipside/train/run.h"

namespace flipside {

// The parts of the page that `run_report` lays out.

/// A run and all that was measured of it.
struct MeasuredRun {
  fs::path folder;  ///< of the run
  RunAbout about;
  fs::path data;  ///< the images it was measured on
  Model model;
  ImageFolder images;
  Results results;
  ImageScores scores;
};

/// Several runs side by side; `names` and `results` are equally long.
void write_comparison(HtmlWriter& html, const std::vector<std::string>& names,
                      const std::vector<Results>& results);

/// What `flipside evaluate` says of the run: headline figures and tables.
void write_figures(HtmlWriter& html, const Results& results);

/// Training losses, validation scores, and what the map finds at each threshold.
void write_curves(HtmlWriter& html, const MeasuredRun& run);

/// Rows of pictures: best, median and worst; failures; reference images turned into defects. The
/// images are read again from `loader`, a few at a time; at most `images` in each list of failures.
/// Throws `Error(kImage)`.
void write_pictures(HtmlWriter& html, const MeasuredRun& run, const EvalLoader& loader,
                    int64_t images);

}  // namespace flipside
