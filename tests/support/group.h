#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <exception>
#include <functional>
#include <stdexcept>
#include <thread>
#include <vector>

#include "flipside/core/process_group.h"

namespace flipside {

/// A port of this machine on which nothing listened just now.
inline int64_t free_port() {
  const int descriptor = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(address);
  auto* generic = reinterpret_cast<sockaddr*>(&address);
  const bool bound =
      bind(descriptor, generic, size) == 0 && getsockname(descriptor, generic, &size) == 0;
  close(descriptor);
  if (!bound) throw std::runtime_error("no free port");
  return ntohs(address.sin_port);
}

/// Does `work` in `size` threads, each of which stands for a process of a group; afterwards throws
/// what the one of lowest rank has thrown.
inline void in_group(int64_t size, const std::function<void(const ProcessGroup& group)>& work,
                     int64_t timeout = 60) {
  Launch launch;
  launch.size = launch.local_size = size;
  launch.port = free_port();
  launch.timeout = timeout;
  std::vector<std::exception_ptr> failures(size);
  std::vector<std::thread> threads;
  for (int64_t rank = 0; rank < size; ++rank)
    threads.emplace_back([&, rank] {
      try {
        Launch own = launch;
        own.rank = own.local_rank = rank;
        work(ProcessGroup(own));
      } catch (...) {
        failures[rank] = std::current_exception();
      }
    });
  for (auto& thread : threads) thread.join();
  for (const auto& failure : failures)
    if (failure) std::rethrow_exception(failure);
}

}  // namespace flipside
