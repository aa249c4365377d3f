#pragma once

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

namespace flipside {

namespace fs = std::filesystem;

/// A line of the log. Values that were not finite when written are NaN.
struct LogLine {
  int64_t step = 0;
  std::string kind;
  std::vector<std::pair<std::string, double>> values;
};

/// `metrics.jsonl`: one JSON object a line, each with "step" and "kind" ("train" or "val").
class RunLog {
 public:
  explicit RunLog(fs::path file) : file_(std::move(file)) {}
  void write(int64_t step, const std::string& kind,
             const std::vector<std::pair<std::string, double>>& values) const;
  /// All lines in their order, without those cut short by a kill; none where there is no file.
  std::vector<LogLine> read() const;
  /// Drops what lies after `step` (it will be written again) and a line cut short by a kill.
  void rewind_to(int64_t step) const;

 private:
  fs::path file_;
};

}  // namespace flipside
