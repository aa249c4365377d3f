#include "flipside/core/stop_signals.h"

#include <unistd.h>

#include <cerrno>

namespace flipside {
namespace {

volatile std::sig_atomic_t stop_requested = 0;

void request_stop(int) {
  static constexpr char kNotice[] = "\nstopping after what was begun; once more to stop at once\n";
  const int error = errno;  // of whoever was interrupted
  stop_requested = 1;
  for (const int signal : {SIGINT, SIGTERM})
    std::signal(signal, SIG_DFL);  // the second may be the other
  // Of all ways to print, `write` alone may be used here; a lost notice loses nothing.
  [[maybe_unused]] const auto written = write(STDERR_FILENO, kNotice, sizeof(kNotice) - 1);
  errno = error;
}

}  // namespace

StopSignals::StopSignals() {
  stop_requested = 0;
  for (int i = 0; i < 2; ++i) previous_[i] = std::signal(kSignals[i], request_stop);
}

StopSignals::~StopSignals() {
  for (int i = 0; i < 2; ++i) std::signal(kSignals[i], previous_[i]);
}

bool StopSignals::requested() const { return stop_requested != 0; }

}  // namespace flipside
