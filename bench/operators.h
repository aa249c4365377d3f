#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace flipside {

/// Where the time of the calling thread goes: seconds per operator of libtorch, and the arithmetic
/// of the convolutions among them. Recording is on while the object lives; one at a time.
class OperatorRecorder {
 public:
  struct Entry {
    int64_t calls = 0;
    double seconds = 0;  ///< its own, without the operators that it calls
    double whole = 0;    ///< with them
    double flop = 0;     ///< of convolutions: two per multiplication and addition
  };
  /// By (name, whether it ran within the backward pass).
  using Entries = std::map<std::pair<std::string, bool>, Entry>;

  OperatorRecorder();
  ~OperatorRecorder();
  OperatorRecorder(const OperatorRecorder&) = delete;
  OperatorRecorder& operator=(const OperatorRecorder&) = delete;

  Entries entries() const;
  /// All convolutions' arithmetic since the start.
  double flop() const;

 private:
  uint64_t handle_;
};

/// The table of operators of `steps` steps that took `seconds` in all, longest first, per step.
/// Those below `least_share` of the whole are summed up in one line.
std::string operator_table(const OperatorRecorder::Entries& entries, int64_t steps, double seconds,
                           double least_share = 0.005);

}  // namespace flipside
