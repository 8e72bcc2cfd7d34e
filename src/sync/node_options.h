// Settings of the sync core. Thread safety: plain values.
#pragma once

#include <cstdint>
#include <string>

#include "base/env.h"
#include "base/peer.h"

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

}  // namespace podmirror::sync
