#pragma once

#include <cstdint>
#include <functional>

namespace flipside {

/// Calls `work(i)` for every i in [0, count) from `threads` threads (0: one per available
/// processor), or as many as can be had; `done(i)` follows each, one at a time. The first exception
/// stops the rest and is thrown again.
void for_each_index(int64_t count, const std::function<void(int64_t)>& work,
                    const std::function<void(int64_t)>& done = {}, int64_t threads = 0);

}  // namespace flipside
