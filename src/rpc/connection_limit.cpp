#include "rpc/connection_limit.h"

#include <algorithm>

namespace podmirror::rpc {

void ConnectionLimit::Refused(const std::string& ip, SteadyMs now) {
  absl::MutexLock lock(&mu_);
  if (forgotten_at_.size() >= kMaxKnown) {
    absl::erase_if(forgotten_at_, [now](const auto& one) { return one.second <= now; });
    // So many addresses that are all at it: no count of them would help.
    if (forgotten_at_.size() >= kMaxKnown) forgotten_at_.clear();
  }
  SteadyMs& at = forgotten_at_[ip];
  at = std::min(std::max(at, now) + kBackAfterMs, now + kFree * kBackAfterMs);
}

bool ConnectionLimit::Allows(const std::string& ip, SteadyMs now) const {
  absl::MutexLock lock(&mu_);
  const auto known = forgotten_at_.find(ip);
  return known == forgotten_at_.end() || known->second <= now + (kFree - 1) * kBackAfterMs;
}

}  // namespace podmirror::rpc
