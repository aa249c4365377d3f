#include "flipside/core/file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <string>
#include <vector>

#include "flipside/core/error.h"
#include "flipside/core/log.h"

namespace flipside {
namespace {

[[noreturn]] void fail_write(const fs::path& path, int error) {
  fail(ErrorCode::kIo, "{}: could not be written: {}; free space or choose another folder",
       path.string(), std::strerror(error));
}

/// A new name survives the end of the machine as its folder does. Some file systems cannot; the
/// file is there in any case.
void sync_folder(const fs::path& folder) {
  const int descriptor = open(folder.empty() ? "." : folder.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) return;
  fsync(descriptor);
  close(descriptor);
}

}  // namespace

fs::path plain_path(const fs::path& path) {
  const fs::path plain = path.lexically_normal();
  return plain.has_filename() ? plain : plain.parent_path();
}

std::string read_file(const fs::path& path) {
  // Not by a stream, which does not tell the end of a file from an error, nor a folder from either.
  const int descriptor = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0)
    fail(ErrorCode::kIo, "{}: could not be opened: {}; check the path and its permissions",
         path.string(), std::strerror(errno));
  std::string bytes;
  std::vector<char> part(1 << 16);
  for (ssize_t got = 1; got != 0;) {
    got = read(descriptor, part.data(), part.size());
    if (got > 0) bytes.append(part.data(), static_cast<size_t>(got));
    if (got >= 0 || errno == EINTR) continue;
    const int error = errno;
    close(descriptor);
    fail(ErrorCode::kIo, "{}: could not be read: {}; check the path and its disk", path.string(),
         std::strerror(error));
  }
  close(descriptor);
  return bytes;
}

void make_folder(const fs::path& path) {
  if (path.empty()) return;
  std::error_code error;
  fs::create_directories(path, error);
  if (error)
    fail(ErrorCode::kIo, "{}: folder could not be made: {}; choose another folder", path.string(),
         error.message());
}

AtomicFile::AtomicFile(const fs::path& path, Durability durability)
    : target_(path),
      temporary_(path.string() + ".tmp" + std::to_string(getpid())),
      durability_(durability) {
  make_folder(path.parent_path());
  descriptor_ = open(temporary_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (descriptor_ < 0) fail_write(target_, errno);
}

AtomicFile::~AtomicFile() {
  if (descriptor_ >= 0) close(descriptor_);
  if (!committed_) unlink(temporary_.c_str());
}

void AtomicFile::write(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(descriptor_, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) fail_write(target_, errno);
    bytes.remove_prefix(static_cast<size_t>(written));
  }
}

void AtomicFile::commit() {
  if (durability_ == Durability::kSynced && fsync(descriptor_) != 0) fail_write(target_, errno);
  const int closed = close(descriptor_);
  descriptor_ = -1;
  if (closed != 0) fail_write(target_, errno);
  if (rename(temporary_.c_str(), target_.c_str()) != 0) fail_write(target_, errno);
  committed_ = true;
  if (durability_ == Durability::kSynced) sync_folder(target_.parent_path());
}

void atomic_write(const fs::path& path, const std::vector<std::string_view>& pieces,
                  Durability durability) {
  AtomicFile file(path, durability);
  for (const auto& piece : pieces) file.write(piece);
  file.commit();
}

void atomic_write(const fs::path& path, std::string_view content, Durability durability) {
  atomic_write(path, std::vector<std::string_view>{content}, durability);
}

void require_writable(const fs::path& path) {
  const AtomicFile probe(path);  // not committed, so nothing is left of it
}

void append_line(const fs::path& path, std::string_view line) {
  std::ofstream stream(path, std::ios::binary | std::ios::app);
  stream << line << '\n';
  stream.flush();
  if (!stream) fail_write(path, errno);
}

namespace {

int open_folder(const fs::path& folder) {
  const int descriptor = open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0)
    fail(ErrorCode::kIo, "{}: could not be opened: {}; check the path and its permissions",
         folder.string(), std::strerror(errno));
  return descriptor;
}

}  // namespace

FolderLock::FolderLock(const fs::path& folder, WhenHeld when_held)
    : descriptor_(open_folder(folder)) {
  if (flock(descriptor_, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK) return;
  if (when_held == WhenHeld::kWait) {
    info("{}: another process works on it; waiting", folder.string());
    while (flock(descriptor_, LOCK_EX) != 0 && errno == EINTR) {
    }
    return;
  }
  close(descriptor_);
  fail(ErrorCode::kUsage, "{}: another process works on it; wait until that one has ended",
       folder.string());
}

FolderLock::~FolderLock() { close(descriptor_); }

}  // namespace flipside
