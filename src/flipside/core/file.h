#pragma once

#include <filesystem>
#include <functional>
#include <ostream>
#include <string>
#include <string_view>
#include <vector>

namespace flipside {

namespace fs = std::filesystem;

/// The path without "." and "..", and without the slash at its end that shells complete.
fs::path plain_path(const fs::path& path);

/// The whole file as bytes. Throws `Error(kIo)` when it cannot be read.
std::string read_file(const fs::path& path);

/// What a written file survives. Waiting for the disk costs milliseconds a file, which many small
/// files that can be made again are not worth.
enum class Durability {
  kSynced,  ///< the end of the program and of the machine: flushed to the disk before it appears
  kQuick,   ///< the end of the program: it appears whole, but a power cut may lose it
};

/// A file that is written piece by piece under another name beside `path` and takes its place when
/// it is complete: readers find the old content or all of the new one. Makes missing folders. What
/// is not committed leaves nothing behind. Every call throws `Error(kIo)` (disk full, no
/// permission).
class AtomicFile {
 public:
  explicit AtomicFile(const fs::path& path, Durability durability = Durability::kSynced);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;
  void write(std::string_view bytes);
  /// Puts the file in its place; nothing may be written after that.
  void commit();

 private:
  fs::path target_;
  std::string temporary_;
  Durability durability_;
  int descriptor_ = -1;
  bool committed_ = false;
};

/// Writes the whole content by an `AtomicFile`. Throws `Error(kIo)` and then leaves the old file as
/// it was and no temporary behind.
void atomic_write(const fs::path& path, std::string_view content,
                  Durability durability = Durability::kSynced);
/// The same from pieces, for content too large to stand in memory twice.
void atomic_write(const fs::path& path, const std::vector<std::string_view>& pieces,
                  Durability durability = Durability::kSynced);

/// Throws `Error(kIo)` where a file could not be written there later: to be asked before long work.
void require_writable(const fs::path& path);

/// Appends one line and flushes it to the kernel. Throws `Error(kIo)`.
void append_line(const fs::path& path, std::string_view line);

/// Creates the folder and its parents. Throws `Error(kIo)`.
void make_folder(const fs::path& path);

/// Keeps other processes from working in the same folder, until it is destroyed or the process has
/// ended, however it ends; leaves no file behind. Where another lock of this folder is held, the
/// constructor throws `Error(kUsage)`, or says so and waits. Throws `Error(kIo)` when the folder
/// cannot be opened. Where the file system has no locks, it keeps nobody out.
class FolderLock {
 public:
  enum class WhenHeld { kFail, kWait };
  explicit FolderLock(const fs::path& folder, WhenHeld when_held = WhenHeld::kFail);
  ~FolderLock();
  FolderLock(const FolderLock&) = delete;
  FolderLock& operator=(const FolderLock&) = delete;

 private:
  int descriptor_ = -1;
};

}  // namespace flipside
