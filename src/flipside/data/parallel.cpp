#include "flipside/data/parallel.h"

#include <algorithm>
#include <atomic>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

#include "flipside/core/device.h"

namespace flipside {

void for_each_index(int64_t count, const std::function<void(int64_t)>& work,
                    const std::function<void(int64_t)>& done) {
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
  std::vector<std::thread> threads;
  for (int64_t i = 1; i < std::min<int64_t>(available_processors(), count); ++i)
    threads.emplace_back(run);
  run();
  for (auto& thread : threads) thread.join();
  if (error) std::rethrow_exception(error);
}

}  // namespace flipside
