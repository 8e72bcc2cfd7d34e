// Self is what all parts of a node share: its settings, cache and clock, how far it has come, and
// what it wants done.
// Thread safety: none; belongs to the Node, under the driver's mutex. The cache is shared with
// readers.
// Invariants: (1) synced implies a verified copy, or that we were knowingly first.
//             (2) our clock has seen every version that we have told or been told.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/env.h"
#include "base/peer.h"
#include "cache/cache.h"
#include "sync/hlc.h"
#include "sync/message.h"
#include "sync/types.h"
#include "sync/waiters.h"

namespace podmirror::sync {

struct NodeOptions {
  Identity self;
  std::string cluster;
  WallMs process_started_ms = 0;
  std::uint64_t backlog_bytes = 64ull << 20;
  std::int64_t tombstone_ttl_ms = 3'600'000;
  std::int64_t repair_interval_ms = 10'000;
  std::int64_t bootstrap_timeout_ms = 30'000;
  bool bootstrap_alone = false;
  std::uint64_t max_memory = 0;  // 0 = none
};

// What a node wants done; carried out by the driver after unlocking.
struct Ready {
  struct DialRequest {
    ConnId conn = 0;
    PodRecord peer;
    bool legacy = false;
  };
  std::vector<DialRequest> dials;
  std::vector<ConnId> wakes;
  std::vector<ConnId> closes;
  Waiters::Completions completions;
  std::vector<EntryRef> dropped;  // not needed any more; freed by whoever lets go of them
  std::vector<Event> events;
  bool unknown_peer = false;  // somebody of our cluster said hello whom no record names
};

struct Self {
  // random: uniform 64-bit numbers, for incarnations and jitter.
  Self(NodeOptions settings, Cache& shared, std::function<std::uint64_t()> chance)
      : options(std::move(settings)),
        cache(shared),
        random(std::move(chance)),
        incarnation(random() | 1) {}

  void Emit(EventKind kind, std::string peer, std::string detail = {},
            std::vector<std::pair<std::string_view, std::uint64_t>> numbers = {}) {
    ready.events.push_back({kind, std::move(peer), std::move(detail), std::move(numbers)});
  }

  const NodeOptions options;
  Cache& cache;
  const std::function<std::uint64_t()> random;
  const Incarnation incarnation;
  Hlc hlc;
  bool synced = false;    // set by Joiner
  bool took = false;      // set by Node: a peer has brought an entry, and may count us
  bool leaving = false;   // set by Drain: we still serve, and others may not know us any more
  bool draining = false;  // set by Drain
  Ready ready;
};

}  // namespace podmirror::sync
