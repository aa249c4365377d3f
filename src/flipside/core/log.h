#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <string>

namespace flipside {

/// Messages for people go to standard error; standard output belongs to results.
void log_info(const std::string& message);
void log_warning(const std::string& message);
/// Whether messages, warnings and progress are shown (they are): of several processes that do the
/// same, one speaks for all.
void show_messages(bool shown);

template <typename... Args>
void info(fmt::format_string<Args...> format, Args&&... args) {
  log_info(fmt::format(format, std::forward<Args>(args)...));
}
template <typename... Args>
void warn(fmt::format_string<Args...> format, Args&&... args) {
  log_warning(fmt::format(format, std::forward<Args>(args)...));
}

/// A progress line on standard error: bar, share, rate and time left. On a terminal it is redrawn
/// in place ten times a second at most; otherwise (a log file) a line is written each 10 seconds.
class Progress {
 public:
  /// `total` units of work (> 0), of which `done` are finished already; `unit` as in "img". Nothing
  /// is shown without a title.
  Progress(std::string title, int64_t total, std::string unit, int64_t done = 0);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  /// Marks `count` more units as done; `note` stands at the end of the line.
  void advance(int64_t count, const std::string& note = "");
  /// There turned out to be more to do, or less.
  void set_total(int64_t total) { total_ = std::max<int64_t>(total, 1); }
  /// Puts `note` at the end of the line and draws it at once.
  void remark(const std::string& note);
  /// Ends the line; called by the destructor too.
  void finish();
  /// Units per second over the last quarter to half minute, so that the time left follows work
  /// that becomes slower or faster.
  double rate() const;
  /// The line as it would be drawn now (what the tests look at).
  std::string line() const;

 private:
  using Clock = std::chrono::steady_clock;
  bool is_shown() const;
  void draw(bool force);

  std::string title_, unit_, note_;
  struct Mark {
    Clock::time_point time;
    int64_t done;
  };
  int64_t total_, done_;
  Mark old_mark_, new_mark_;  ///< the rate is measured from the old one on
  Clock::time_point last_drawn_;
  bool terminal_, finished_ = false;
};

/// "1:02:03", "4:05" for a number of seconds.
std::string format_duration(double seconds);

}  // namespace flipside
