#pragma once

#include <filesystem>
#include <map>
#include <string>

#include "flipside/core/torch.h"

namespace flipside {

namespace fs = std::filesystem;

/// A safetensors file in memory: tensors by name and the string metadata.
struct SafetensorsFile {
  std::map<std::string, Tensor> tensors;
  std::map<std::string, std::string> metadata;
};

/// Writes the format of https://github.com/huggingface/safetensors: 8 bytes little-endian header
/// length, JSON header, raw little-endian row-major tensors, contiguous and without holes. Adds the
/// metadata key "crc32": eight hexadecimal digits, the CRC-32 of the whole file with these digits
/// at zero. Atomic. Throws `Error(kIo)`; `Error(kArgument)` for a dtype that the format lacks or
/// text that is not UTF-8.
void write_safetensors(const fs::path& path, const SafetensorsFile& file);

/// Reads it back, checking every length, offset, dtype and shape before use, and "crc32" when it
/// is there (it stays in the metadata, so that a caller can insist on it). Throws
/// `Error(kCheckpoint)` naming the file and what was wrong.
SafetensorsFile read_safetensors(const fs::path& path);

}  // namespace flipside
