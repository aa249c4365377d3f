#pragma once

#include <string>
#include <utility>
#include <vector>

#include "flipside/report/explained_image.h"

namespace flipside {

/// What is measured on a defect, by the names it has in `defects.csv` and `results.jsonl`, the unit
/// at the end of each; lengths rounded to six digits. Those in mm and mm^2 only with
/// `mm_per_pixel` > 0.
std::vector<std::pair<std::string, double>> named_measures(const Region& region,
                                                           double mm_per_pixel);

/// The first line of `defects.csv`, with its line's end.
std::string defect_table_header(double mm_per_pixel);

/// One line per defect: file, number from 1 on, class, measures. Text with commas, quotes or line
/// breaks is quoted (RFC 4180).
std::string defect_table_rows(const std::string& file, const std::vector<std::string>& class_names,
                              const std::vector<Defect>& defects, double mm_per_pixel);

}  // namespace flipside
