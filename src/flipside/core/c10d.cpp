#include "flipside/core/c10d.h"

#include "flipside/core/error.h"

#ifdef FLIPSIDE_GLOO
#ifndef USE_C10D_GLOO
#define USE_C10D_GLOO
#endif
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>
#ifdef FLIPSIDE_NCCL
#ifndef USE_C10D_NCCL
#define USE_C10D_NCCL
#endif
#include <torch/csrc/distributed/c10d/ProcessGroupNCCL.hpp>
#endif
#include <arpa/inet.h>
#include <netdb.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#endif

namespace flipside {

std::string first_line(const std::exception& error) {
  const auto* from_torch = dynamic_cast<const c10::Error*>(&error);
  const std::string text = from_torch ? from_torch->what_without_backtrace() : error.what();
  return text.substr(0, text.find('\n'));
}

#ifdef FLIPSIDE_GLOO
namespace {

using Seconds = std::chrono::seconds;
using StorePointer = c10::intrusive_ptr<c10d::Store>;

/// The address of this machine by which it reaches `host`, "" where that cannot be found. The
/// machine's own name, which c10d would take, is a loopback address on many Linux systems.
std::string own_address_towards(const std::string& host, int64_t port) {
  addrinfo hints{}, *found = nullptr;
  hints.ai_socktype = SOCK_DGRAM;
  if (getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &found) != 0) return "";
  std::string address;
  const int descriptor = socket(found->ai_family, SOCK_DGRAM, 0);
  sockaddr_storage own{};
  socklen_t size = sizeof(own);
  char text[NI_MAXHOST];
  // Connecting a datagram socket sends nothing; it only chooses the route.
  if (descriptor >= 0 && connect(descriptor, found->ai_addr, found->ai_addrlen) == 0 &&
      getsockname(descriptor, reinterpret_cast<sockaddr*>(&own), &size) == 0 &&
      getnameinfo(reinterpret_cast<sockaddr*>(&own), size, text, sizeof(text), nullptr, 0,
                  NI_NUMERICHOST) == 0)
    address = text;
  if (descriptor >= 0) close(descriptor);
  freeaddrinfo(found);
  return address;
}

std::shared_ptr<gloo::transport::Device> make_device(const Launch& launch) {
  using Gloo = c10d::ProcessGroupGloo;
  if (const char* interface = std::getenv("GLOO_SOCKET_IFNAME"); interface && *interface)
    return Gloo::createDeviceForInterface(interface);
  const std::string address = own_address_towards(launch.address, launch.port);
  return address.empty() ? Gloo::createDefaultDevice() : Gloo::createDeviceForHostname(address);
}

StorePointer open_store(const Launch& launch) {
  c10d::TCPStoreOptions options;
  options.port = static_cast<uint16_t>(launch.port);
  options.isServer = launch.rank == 0 && !launch.launcher_listens;
  options.waitWorkers = false;  // `meet` waits, and can say who is missing
  options.timeout = Seconds(launch.timeout);
  return c10::make_intrusive<c10d::PrefixStore>(
      "flipside/" + std::to_string(launch.attempt),
      c10::make_intrusive<c10d::TCPStore>(launch.address, options));
}

void meet(const Launch& launch, const StorePointer& store) {
  const auto key = [](int64_t rank) { return "here/" + std::to_string(rank); };
  store->set(key(launch.rank), std::vector<uint8_t>{1});
  const auto end = std::chrono::steady_clock::now() + Seconds(launch.timeout);
  for (int64_t rank = 0; rank < launch.size; ++rank) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
        end - std::chrono::steady_clock::now());
    try {
      store->wait({key(rank)}, std::max(left, std::chrono::milliseconds(1)));
    } catch (const std::exception& error) {
      fail(ErrorCode::kIo,
           "process {} of {}: process {} did not come within {} s ({}); start all of them, with "
           "one MASTER_ADDR and MASTER_PORT",
           launch.rank, launch.size, rank, launch.timeout, first_line(error));
    }
  }
}

}  // namespace

struct Links::State {
  c10::intrusive_ptr<c10d::ProcessGroupGloo> gloo;
#ifdef FLIPSIDE_NCCL
  StorePointer store;
  int rank = 0, size = 1;
  Seconds timeout{0};
  c10::intrusive_ptr<c10d::ProcessGroupNCCL> nccl;  // made for the first tensor of a GPU
#endif

  /// Calls `work` with the backend for the tensor's device.
  template <typename Work>
  auto with_backend(const Tensor& tensor, const Work& work) {
#ifdef FLIPSIDE_NCCL
    if (tensor.is_cuda()) {
      if (!nccl) {
        const auto options = c10d::ProcessGroupNCCL::Options::create();
        options->timeout = timeout;
        nccl = c10::make_intrusive<c10d::ProcessGroupNCCL>(
            c10::make_intrusive<c10d::PrefixStore>("nccl", store), rank, size, options);
      }
      return work(*nccl);
    }
#endif
    return work(*gloo);
  }
};

Links::Links(const Launch& launch) : state_(std::make_unique<State>()) {
  try {
    const StorePointer store = open_store(launch);
    meet(launch, store);
    const auto options = c10d::ProcessGroupGloo::Options::create(Seconds(launch.timeout));
    options->devices.push_back(make_device(launch));
    const int rank = static_cast<int>(launch.rank), size = static_cast<int>(launch.size);
    state_->gloo = c10::make_intrusive<c10d::ProcessGroupGloo>(
        c10::make_intrusive<c10d::PrefixStore>("gloo", store), rank, size, options);
    // A process that finds an error from here on ends only after all have met.
    state_->gloo->barrier()->wait();
#ifdef FLIPSIDE_NCCL
    state_->store = store;
    state_->rank = rank;
    state_->size = size;
    state_->timeout = Seconds(launch.timeout);
#endif
  } catch (const Error&) {
    throw;
  } catch (const std::exception& error) {
    fail(ErrorCode::kIo,
         "process {} of {}: cannot meet the others at {}:{} ({}); check MASTER_ADDR, choose a free "
         "MASTER_PORT and start all processes",
         launch.rank, launch.size, launch.address, launch.port, first_line(error));
  }
}

Links::~Links() = default;

std::function<void()> Links::start_sum(const Tensor& tensor) {
  std::vector<Tensor> tensors{tensor};
  const auto work =
      state_->with_backend(tensor, [&](auto& backend) { return backend.allreduce(tensors); });
  return [work] { work->wait(); };
}

void Links::broadcast(Tensor& tensor) {
  std::vector<Tensor> tensors{tensor};
  state_->with_backend(tensor, [&](auto& backend) { return backend.broadcast(tensors); })->wait();
}

#else

struct Links::State {};

Links::Links(const Launch& launch) {
  fail(ErrorCode::kUsage,
       "{} processes: this build trains in one process, since Gloo's headers were missing; install "
       "them (Debian: libgloo-dev) and build again",
       launch.size);
}

Links::~Links() = default;
std::function<void()> Links::start_sum(const Tensor&) { return {}; }
void Links::broadcast(Tensor&) {}

#endif

}  // namespace flipside
