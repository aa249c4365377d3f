#include "flipside/core/shard.h"

#include <charconv>

#include "flipside/core/error.h"

namespace flipside {

Shard parse_shard(const std::string& text) {
  int64_t number = 0, count = 0;
  const char* const end = text.data() + text.size();
  const auto first = std::from_chars(text.data(), end, number);
  const bool has_slash = first.ec == std::errc() && first.ptr != end && *first.ptr == '/';
  const auto second = std::from_chars(has_slash ? first.ptr + 1 : end, end, count);
  if (!has_slash || second.ec != std::errc() || second.ptr != end || number < 1 || number > count)
    fail(ErrorCode::kUsage, "--shard {}: must be I/N with I from 1 to N, as 1/4, 2/4, 3/4 and 4/4",
         text);
  return {number - 1, count};
}

std::string shard_file(const std::string& stem, const std::string& ending, const Shard& shard) {
  if (shard.is_whole()) return stem + ending;
  return fmt::format("{}.{}-of-{}{}", stem, shard.index + 1, shard.count, ending);
}

}  // namespace flipside
