#include "flipside/data/parallel.h"

#include <algorithm>
#include <atomic>
#include <exception>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

#include "flipside/core/device.h"

namespace flipside {

void for_each_index(int64_t count, const std::function<void(int64_t)>& work,
                    const std::function<void(int64_t)>& done, int64_t threads) {
  std::atomic<int64_t> next{0};
  std::mutex mutex;
  std::exception_ptr error;
  const auto run = [&] {
    try {
      for (int64_t i = next++; i < count; i = next++) {
        work(i);
        if (!done) continue;
        const std::lock_guard<std::mutex> lock(mutex);
        done(i);
      }
    } catch (...) {
      next = count;
      const std::lock_guard<std::mutex> lock(mutex);
      if (!error) error = std::current_exception();
    }
  };
  if (threads == 0) threads = available_processors();
  std::vector<std::thread> others;
  try {
    while (static_cast<int64_t>(others.size()) + 1 < std::min(threads, count))
      others.emplace_back(run);
  } catch (const std::system_error&) {
    // The machine gives no more threads: those that there are do the work.
  }
  run();
  for (auto& thread : others) thread.join();
  if (error) std::rethrow_exception(error);
}

}  // namespace flipside
