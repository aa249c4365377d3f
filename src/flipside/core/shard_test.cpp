#include "flipside/core/shard.h"

#include <gtest/gtest.h>

#include "flipside/core/error.h"

namespace flipside::shard_test {
namespace {

TEST(Shard, SharesArePartsOfTheWhole) {
  for (const int64_t count : {1, 2, 3, 5})
    for (int64_t places = 0; places < 12; ++places) {
      int64_t all = 0;
      for (int64_t index = 0; index < count; ++index) {
        const Shard shard{index, count};
        int64_t own = 0, first = -1;
        for (int64_t place = 0; place < places + count; ++place) {
          own += place < places && shard.has(place);
          if (first < 0 && place >= places && shard.has(place)) first = place;
        }
        EXPECT_EQ(shard.size(places), own);
        EXPECT_EQ(shard.first_from(places), first);
        all += own;
      }
      EXPECT_EQ(all, places);
    }
}

TEST(Shard, IsReadFromText) {
  const Shard shard = parse_shard("2/4");
  EXPECT_EQ(shard.index, 1);
  EXPECT_EQ(shard.count, 4);
  EXPECT_EQ(shard_file("results", ".jsonl", shard), "results.2-of-4.jsonl");
  EXPECT_EQ(shard_file("results", ".jsonl", parse_shard("1/1")), "results.jsonl");
  for (const char* text : {"", "2", "0/4", "5/4", "1/0", "1/2/3", "a/b", "1/ 2", "-1/2", "/", "1/"})
    EXPECT_THROW(parse_shard(text), Error) << text;
}

}  // namespace
}  // namespace flipside::shard_test
