// The Reporter tells and counts what a source finds: the same for all sources.
// Thread safety: none; belongs to the source's thread.
// Invariants: (1) failed() is not repeated while its text is the same and no good answer came.
//             (2) all text that leaves is printable ASCII and of bounded length.
#pragma once

#include <cstdint>
#include <string>

#include "discovery/peer_source.h"

namespace podmirror::discovery {

class Reporter {
 public:
  Reporter(SourceEvents events, telemetry::Metrics& metrics)
      : events_(std::move(events)), metrics_(metrics) {}

  void Peers(PeerSet set, std::int64_t revision);
  void Failed(const std::string& error);
  void Unreadable(const std::string& where, const std::string& reason);

  // type: list, relist, watch_event; error and unreadable count themselves.
  void Count(std::string_view type) { metrics_.DiscoveryEvent(type); }

 private:
  const SourceEvents events_;
  telemetry::Metrics& metrics_;
  std::string last_error_;  // empty after a good answer
};

}  // namespace podmirror::discovery
