// ConnectionLimit keeps out who would be a peer, is none, and comes again and again. A handshake
// costs a thousand times what it costs to ask for one, and all of gRPC has one thread: so an
// address that was refused as a peer gets few further connections. All others get as many as they
// like. Thread safety: all calls from any thread. Invariant: memory is bounded. What is not
// remembered was not refused.
#pragma once

#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/synchronization/mutex.h"
#include "base/env.h"

namespace podmirror::rpc {

class ConnectionLimit {
 public:
  // So many refusals are free, as of a pod whose certificate is being replaced; then one comes back
  // in each second.
  static constexpr int kFree = 20;
  static constexpr SteadyMs kBackAfterMs = 1000;

  // A peer was refused that came from this address. ip: without brackets. A whole address of IPv6
  // counts: all pods of a node may have their first 64 bits in common.
  void Refused(const std::string& ip, SteadyMs now);
  // Whether one more connection of this address is to be let in.
  bool Allows(const std::string& ip, SteadyMs now) const;

 private:
  static constexpr std::size_t kMaxKnown = 10'000;

  mutable absl::Mutex mu_;
  // When the last of its refusals is forgotten.
  absl::flat_hash_map<std::string, SteadyMs> forgotten_at_ ABSL_GUARDED_BY(mu_);
};

}  // namespace podmirror::rpc
