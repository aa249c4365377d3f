#pragma once

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

namespace flipside {

namespace fs = std::filesystem;

/// `metrics.jsonl`: one JSON object a line, each with "step" and "kind" ("train" or "val").
class RunLog {
 public:
  explicit RunLog(fs::path file) : file_(std::move(file)) {}
  void write(int64_t step, const std::string& kind,
             const std::vector<std::pair<std::string, double>>& values) const;
  /// Drops what lies after `step` (it will be written again) and a line cut short by a kill.
  void rewind_to(int64_t step) const;

 private:
  fs::path file_;
};

}  // namespace flipside
