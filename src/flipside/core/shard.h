#pragma once

#include <cstdint>
#include <string>

namespace flipside {

/// One of `count` equal shares of numbered work: the places index, index + count, index + 2 count,
/// ... Whatever the work is cut into, each share gets its part of each piece, in the old order.
struct Shard {
  int64_t index = 0;  ///< in [0, count)
  int64_t count = 1;

  bool is_whole() const { return count == 1; }
  bool has(int64_t place) const { return place % count == index; }
  /// How many of the places 0..places-1 it has.
  int64_t size(int64_t places) const { return (places - index + count - 1) / count; }
  /// Its first place that is not below `place`.
  int64_t first_from(int64_t place) const { return index + count * size(place); }
};

/// "I/N", the first share being 1/N, as of the option --shard; throws `Error(kUsage)` for others.
Shard parse_shard(const std::string& text);
/// The name of a file of a share's own: "results.2-of-4.jsonl" for the stem "results" and the
/// ending
/// ".jsonl", "results.jsonl" for the whole.
std::string shard_file(const std::string& stem, const std::string& ending, const Shard& shard);

}  // namespace flipside
