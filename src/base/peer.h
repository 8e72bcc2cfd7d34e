// Who the pods are: what discovery emits and the sync core takes.
// Thread safety: plain values.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/env.h"

namespace podmirror {

// Who this pod is (Downward API). Empty members are unknown.
struct Identity {
  std::string name;
  std::string ns;
  std::string uid;
  std::string ip;
};

// One peer as its pod record (or lease, or address list) describes it.
struct PodRecord {
  std::string uid;   // empty where the source has none (static, DNS)
  std::string name;  // "host:port" where the source has none
  std::string ip;    // textual, without brackets
  std::uint16_t port = 0;
  std::string phase;         // "Running", "Pending"; empty where the source has none
  bool ready = false;        // its record says that it holds the data; false without records
  WallMs started_at_ms = 0;  // startedAt of the daemon's container; 0 = unknown
  bool terminating = false;  // the pod is being deleted

  // True when Kubernetes keeps the record: only then a `ready` of false says that it has no data.
  bool recorded() const { return !phase.empty(); }

  // Tells peers apart: the UID, or "ip:port" where there is no UID. A record with a UID is never
  // known by its address, because addresses are reused.
  std::string id() const { return uid.empty() ? ip + ":" + std::to_string(port) : uid; }

  friend bool operator==(const PodRecord&, const PodRecord&) = default;
};

// True when `a` comes before `b`. The oldest comes first: by start (unknown starts last), then by
// UID, then by address. The order is the same on every daemon.
bool OlderThan(const PodRecord& a, const PodRecord& b);

// One good answer of a discovery source: everybody but this pod.
struct PeerSet {
  std::vector<PodRecord> peers;  // sorted by OlderThan
  // Pods that are being deleted while their daemons still run: no peers any more, but one of them
  // may be the only pod that holds the data when its successor starts. Sorted by OlderThan.
  std::vector<PodRecord> terminating;
  // True when the answer holds this pod's own record, or when the source keeps no record of us
  // (static, none). False means that we look in the wrong place: the set may not be complete.
  bool self_listed = false;
  WallMs self_started_at_ms = 0;  // from this pod's own record; 0 = unknown
  std::string where;              // what was searched, for messages: "/registry/pods/default"

  friend bool operator==(const PeerSet&, const PeerSet&) = default;
};

}  // namespace podmirror
