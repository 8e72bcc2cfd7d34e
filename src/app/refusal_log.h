// RefusalLog says once, and not for each attempt, that somebody was turned away: a line for the
// same address and reason comes again only after a while. Thread safety: all calls from any thread.
#pragma once

#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/synchronization/mutex.h"
#include "app/log.h"
#include "base/env.h"

namespace podmirror::app {

class RefusalLog {
 public:
  static constexpr SteadyMs kAgainMs = 60'000;
  // Who invents addresses and reasons cannot make the log longer than this each kAgainMs.
  static constexpr std::size_t kMostLines = 100;

  // Both must outlive this.
  RefusalLog(Log& log, const Env& env) : log_(log), env_(env) {}

  // A daemon at `ip` that would be a peer was turned away.
  void PeerRefused(const std::string& ip, const std::string& reason);

 private:
  Log& log_;
  const Env& env_;
  absl::Mutex mu_;
  absl::flat_hash_map<std::string, SteadyMs> said_ ABSL_GUARDED_BY(mu_);
};

}  // namespace podmirror::app
