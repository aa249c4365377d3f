#pragma once

#include <csignal>

namespace flipside {

/// Between construction and destruction the first SIGINT or SIGTERM only asks for a stop; a second
/// one ends the program, since what was begun may take long. One of them at a time.
class StopSignals {
 public:
  StopSignals();
  ~StopSignals();
  StopSignals(const StopSignals&) = delete;
  StopSignals& operator=(const StopSignals&) = delete;

  /// True from the first signal on.
  bool requested() const;

 private:
  static constexpr int kSignals[2] = {SIGINT, SIGTERM};
  void (*previous_[2])(int);
};

}  // namespace flipside
