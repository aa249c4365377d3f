#pragma once

#include <filesystem>
#include <functional>
#include <ostream>
#include <string>
#include <string_view>
#include <vector>

namespace flipside {

namespace fs = std::filesystem;

/// The whole file as bytes. Throws `Error(kIo)` when it cannot be read.
std::string read_file(const fs::path& path);

/// Writes so that `path` holds either its old content or all of the new one, whatever happens
/// between: temporary file beside it, fsync, rename. Makes missing folders. Throws `Error(kIo)`
/// (disk full, no permission) and then leaves the old file as it was and no temporary behind.
void atomic_write(const fs::path& path, std::string_view content);
/// The same from pieces, for content too large to stand in memory twice.
void atomic_write(const fs::path& path, const std::vector<std::string_view>& pieces);

/// Appends one line and flushes it to the kernel. Throws `Error(kIo)`.
void append_line(const fs::path& path, std::string_view line);

/// Creates the folder and its parents. Throws `Error(kIo)`.
void make_folder(const fs::path& path);

}  // namespace flipside
