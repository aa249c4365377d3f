#pragma once

#include <fmt/format.h>

#include <stdexcept>
#include <string>

namespace flipside {

/// What kind of thing was wrong. `kUsage` and `kConfig` end the program with exit code 2, every
/// other code with 1.
enum class ErrorCode {
  kUsage,       ///< the command line: a verb, flag or argument
  kConfig,      ///< a key of a configuration: unknown, malformed or out of range
  kData,        ///< a data set: missing folder, empty class, one class only
  kImage,       ///< one image or mask file: unreadable, truncated, wrong size
  kCheckpoint,  ///< a checkpoint: truncated, corrupt, of another version, wrong shapes
  kIo,          ///< reading or writing failed: disk full, no permission
  kArgument,    ///< an argument of a library call out of its range
};

/// The one exception of the library. Its message says what was wrong, the value seen, what is
/// allowed and what to do.
class Error : public std::runtime_error {
 public:
  Error(ErrorCode code, const std::string& message) : std::runtime_error(message), code_(code) {}
  ErrorCode code() const noexcept { return code_; }
  /// 2 for usage and configuration, 1 otherwise.
  int exit_code() const noexcept {
    return code_ == ErrorCode::kUsage || code_ == ErrorCode::kConfig ? 2 : 1;
  }

 private:
  ErrorCode code_;
};

/// Throws `Error` with a message in fmt's syntax.
template <typename... Args>
[[noreturn]] void fail(ErrorCode code, fmt::format_string<Args...> format, Args&&... args) {
  throw Error(code, fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace flipside
