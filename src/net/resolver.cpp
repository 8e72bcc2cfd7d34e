#include "net/resolver.h"

#include <absl/time/time.h>
#include <netdb.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <iterator>
#include <optional>
#include <system_error>
#include <thread>
#include <utility>

#include "net/address.h"

namespace podmirror::net {
namespace {

// More IPv4 addresses than fit into a DNS answer, which has at most 64 KiB.
constexpr std::size_t kMaxAddresses = 4096;

Status ErrorOf(int error) {
  const bool none = error == EAI_NONAME || error == EAI_NODATA || error == EAI_ADDRFAMILY;
  return Status(none ? Code::kNotFound : Code::kUnavailable, gai_strerror(error));
}

Result<Resolver::Addresses> AskSystem(const std::string& name, int family) {
  addrinfo hints{};
  hints.ai_family = family;
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  if (const int error = getaddrinfo(name.c_str(), nullptr, &hints, &found); error != 0) {
    return ErrorOf(error);
  }
  Resolver::Addresses addresses;
  for (const addrinfo* at = found; at != nullptr; at = at->ai_next) {
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
  // Not a part of them: which part, the next answer of DNS might say differently.
  if (addresses.size() > kMaxAddresses) {
    return Status(Code::kExhausted, "more than " + std::to_string(kMaxAddresses) + " addresses");
  }
  return addresses;
}

int FamilyOf(const std::string& ip) { return ip.find(':') == ip.npos ? AF_INET : AF_INET6; }

// The system asks for IPv4 and for IPv6 addresses separately. When one of the two questions fails,
// it returns the addresses of the other family as if these were all. So a family that is missing
// now is asked for once more, and keeps its `previous` addresses if that question fails too.
Result<Resolver::Addresses> Ask(const std::string& name, const Resolver::Addresses& previous) {
  Result<Resolver::Addresses> all = AskSystem(name, AF_UNSPEC);
  if (!all.ok()) return all;
  for (const int family : {AF_INET, AF_INET6}) {
    const auto is_of_family = [&](const std::string& ip) { return FamilyOf(ip) == family; };
    const auto has = [&](const Resolver::Addresses& ips) {
      return std::any_of(ips.begin(), ips.end(), is_of_family);
    };
    if (!has(previous) || has(*all)) continue;
    const Result<Resolver::Addresses> again = AskSystem(name, family);
    if (again.status().code() == Code::kNotFound) continue;
    const Resolver::Addresses& more = again.ok() ? *again : previous;
    std::copy_if(more.begin(), more.end(), std::back_inserter(*all), is_of_family);
    std::sort(all->begin(), all->end());
  }
  return all;
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

Resolver::Resolver(Env& env) : env_(env), shared_(std::make_shared<Shared>()) {}
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
      // Detached: nothing can end the look-up early, and the thread owns all that it touches.
      std::thread([name, lookup, shared = shared_, previous = answers_[name]] {
        Result<Addresses> result = Ask(name, previous);
        absl::MutexLock lock(&shared->mutex);
        lookup->result = std::move(result);
        shared->changed.SignalAll();
      }).detach();
    } catch (const std::system_error& error) {
      lookup->result = Status(Code::kUnavailable, error.what());
    }
  }
  const SteadyMs deadline = env_.now().steady + timeout.count();
  absl::MutexLock lock(&shared_->mutex);
  const auto all_done = [&] {
    return std::all_of(names.begin(), names.end(),
                       [&](const std::string& name) { return lookups_[name]->result.has_value(); });
  };
  while (!shared_->cancelled && !all_done()) {
    const SteadyMs left = deadline - env_.now().steady;
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
  if (result.ok()) answers_[name] = *result;
  return result;
}

}  // namespace podmirror::net
