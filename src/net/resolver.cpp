#include "net/resolver.h"

#include <absl/time/time.h>
#include <netdb.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <optional>
#include <system_error>
#include <thread>
#include <utility>

#include "base/env.h"
#include "net/address.h"

namespace podmirror::net {
namespace {

constexpr std::size_t kMaxAddresses = 10'000;

Result<Resolver::Addresses> AskSystem(const std::string& name) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  const int error = getaddrinfo(name.c_str(), nullptr, &hints, &found);
  if (error != 0) {
    const bool none = error == EAI_NONAME || error == EAI_NODATA;
    return Status(none ? Code::kNotFound : Code::kUnavailable, gai_strerror(error));
  }
  Resolver::Addresses addresses;
  for (const addrinfo* at = found; at != nullptr && addresses.size() < kMaxAddresses;
       at = at->ai_next) {
    std::array<char, NI_MAXHOST> text{};
    if (getnameinfo(at->ai_addr, at->ai_addrlen, text.data(), text.size(), nullptr, 0,
                    NI_NUMERICHOST) != 0) {
      continue;
    }
    if (auto ip = CanonicalIp(text.data())) addresses.push_back(std::move(*ip));
  }
  freeaddrinfo(found);
  std::sort(addresses.begin(), addresses.end());
  addresses.erase(std::unique(addresses.begin(), addresses.end()), addresses.end());
  if (addresses.empty()) return Status(Code::kNotFound, "no address");
  return addresses;
}

}  // namespace

struct Resolver::Lookup {
  std::optional<Result<Addresses>> result;  // guarded by Shared::mutex
};

struct Resolver::Shared {
  absl::Mutex mutex;
  absl::CondVar changed;
  bool cancelled ABSL_GUARDED_BY(mutex) = false;
};

Resolver::Resolver() : shared_(std::make_shared<Shared>()) {}
Resolver::~Resolver() = default;

void Resolver::Cancel() {
  absl::MutexLock lock(&shared_->mutex);
  shared_->cancelled = true;
  shared_->changed.SignalAll();
}

void Resolver::Rearm() {
  absl::MutexLock lock(&shared_->mutex);
  shared_->cancelled = false;
}

std::vector<Result<Resolver::Addresses>> Resolver::Resolve(const std::vector<std::string>& names,
                                                           std::chrono::milliseconds timeout) {
  for (const std::string& name : names) {
    auto& lookup = lookups_[name];
    if (lookup != nullptr) continue;
    lookup = std::make_shared<Lookup>();
    if (auto ip = CanonicalIp(name)) {
      lookup->result = Addresses{std::move(*ip)};
      continue;
    }
    try {
      // Detached: nothing can end it early, and it owns all that it touches.
      std::thread([name, lookup, shared = shared_] {
        Result<Addresses> result = AskSystem(name);
        absl::MutexLock lock(&shared->mutex);
        lookup->result = std::move(result);
        shared->changed.SignalAll();
      }).detach();
    } catch (const std::system_error& error) {
      lookup->result = Status(Code::kUnavailable, error.what());
    }
  }
  const SteadyMs deadline = Env::Real().now().steady + timeout.count();
  absl::MutexLock lock(&shared_->mutex);
  const auto all_done = [&] {
    return std::all_of(names.begin(), names.end(),
                       [&](const std::string& name) { return lookups_[name]->result.has_value(); });
  };
  while (!shared_->cancelled && !all_done()) {
    const SteadyMs left = deadline - Env::Real().now().steady;
    if (left <= 0) break;
    shared_->changed.WaitWithTimeout(&shared_->mutex, absl::Milliseconds(left));
  }
  std::vector<Result<Addresses>> results;
  results.reserve(names.size());
  for (const std::string& name : names) results.push_back(Take(name));
  return results;
}

Result<Resolver::Addresses> Resolver::Take(const std::string& name) {
  const auto lookup = lookups_.find(name);
  if (!lookup->second->result) {
    return Status(Code::kDeadline, "no answer from the name service");
  }
  Result<Addresses> result = std::move(*lookup->second->result);
  lookups_.erase(lookup);
  return result;
}

}  // namespace podmirror::net
