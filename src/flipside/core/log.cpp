#include "flipside/core/log.h"

#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdio>

namespace flipside {
namespace {

constexpr double kTerminalInterval = 0.1;  // seconds between redraws
constexpr double kLogInterval = 10.0;      // seconds between lines in a log file
constexpr std::chrono::seconds kRateWindow{15};
constexpr int kBarWidth = 24;  // characters

std::atomic<bool> messages_shown = true;

spdlog::logger& logger() {
  static auto instance = [] {
    auto created = spdlog::stderr_color_mt("flipside");
    created->set_pattern("%^%v%$");
    return created;
  }();
  return *instance;
}

}  // namespace

void log_info(const std::string& message) {
  if (messages_shown) logger().info(message);
}

void log_warning(const std::string& message) {
  if (messages_shown) logger().warn("warning: " + message);
}

void show_messages(bool shown) { messages_shown = shown; }

std::string format_duration(double seconds) {
  const auto total = static_cast<int64_t>(std::llround(std::max(0.0, seconds)));
  const int64_t h = total / 3600, m = total / 60 % 60, s = total % 60;
  return h > 0 ? fmt::format("{}:{:02}:{:02}", h, m, s) : fmt::format("{}:{:02}", m, s);
}

Progress::Progress(std::string title, int64_t total, std::string unit, int64_t done)
    : title_(std::move(title)),
      unit_(std::move(unit)),
      total_(std::max<int64_t>(total, 1)),
      done_(done),
      old_mark_{Clock::now(), done},
      new_mark_(old_mark_),
      last_drawn_(old_mark_.time - std::chrono::hours(1)),
      terminal_(isatty(STDERR_FILENO) == 1) {}

Progress::~Progress() { finish(); }

void Progress::advance(int64_t count, const std::string& note) {
  done_ += count;
  const auto now = Clock::now();
  if (now - new_mark_.time > kRateWindow) {
    old_mark_ = new_mark_;
    new_mark_ = {now, done_};
  }
  note_ = note;
  draw(/*force=*/false);
}

void Progress::remark(const std::string& note) {
  note_ = note;
  draw(/*force=*/true);
}

void Progress::finish() {
  if (finished_) return;
  draw(/*force=*/true);
  if (terminal_ && is_shown()) std::fputc('\n', stderr);
  finished_ = true;
}

double Progress::rate() const {
  const double seconds = std::chrono::duration<double>(Clock::now() - old_mark_.time).count();
  return seconds > 0 ? static_cast<double>(done_ - old_mark_.done) / seconds : 0.0;
}

std::string Progress::line() const {
  const double share = std::clamp(static_cast<double>(done_) / static_cast<double>(total_), 0., 1.);
  const int filled = static_cast<int>(share * kBarWidth);
  const double per_second = rate();
  const std::string left =
      per_second > 0 ? format_duration(static_cast<double>(total_ - done_) / per_second) : "?";
  return fmt::format("{} [{}{}] {}/{} {:.1f} {}/s, {} left{}{}", title_, std::string(filled, '#'),
                     std::string(kBarWidth - filled, '.'), done_, total_, per_second, unit_, left,
                     note_.empty() ? "" : "  ", note_);
}

bool Progress::is_shown() const { return messages_shown && !title_.empty(); }

void Progress::draw(bool force) {
  if (!is_shown()) return;
  const auto now = Clock::now();
  const double since = std::chrono::duration<double>(now - last_drawn_).count();
  if (!force && since < (terminal_ ? kTerminalInterval : kLogInterval)) return;
  last_drawn_ = now;
  // A terminal that was closed, or a log on a full disk, must not end the work.
  std::fputs((terminal_ ? "\r\x1b[K" + line() : line() + "\n").c_str(), stderr);
  std::fflush(stderr);
}

}  // namespace flipside
