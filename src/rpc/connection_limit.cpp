#include "rpc/connection_limit.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include <algorithm>

namespace podmirror::rpc {
namespace {

constexpr std::size_t kPrefixBytes = 8;

// What an address is counted by.
std::string KeyOf(const std::string& ip) {
  in6_addr address{};
  if (inet_pton(AF_INET6, ip.c_str(), &address) != 1) return ip;
  return {reinterpret_cast<const char*>(address.s6_addr), kPrefixBytes};
}

}  // namespace

void ConnectionLimit::Refused(const std::string& ip, SteadyMs now) {
  absl::MutexLock lock(&mu_);
  if (forgotten_at_.size() >= kMaxKnown) {
    absl::erase_if(forgotten_at_, [now](const auto& one) { return one.second <= now; });
    // So many addresses that are all at it: no count of them would help.
    if (forgotten_at_.size() >= kMaxKnown) forgotten_at_.clear();
  }
  SteadyMs& at = forgotten_at_[KeyOf(ip)];
  at = std::min(std::max(at, now) + kBackAfterMs, now + kFree * kBackAfterMs);
}

bool ConnectionLimit::Allows(const std::string& ip, SteadyMs now) const {
  absl::MutexLock lock(&mu_);
  const auto known = forgotten_at_.find(KeyOf(ip));
  return known == forgotten_at_.end() || known->second <= now + (kFree - 1) * kBackAfterMs;
}

}  // namespace podmirror::rpc
