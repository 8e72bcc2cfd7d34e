// What the sync core tells its surroundings: writes and their outcome, status, events.
// Thread safety: plain values.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/peer.h"
#include "cache/cache.h"
#include "cache/entry.h"
#include "sync/message.h"

namespace podmirror::sync {

// One stream, inbound or dialled; unique within a process's life, never 0.
using ConnId = std::uint64_t;

enum class AckLevel : std::uint8_t { kLocal, kOne, kMajority, kAll };
std::string_view ToString(AckLevel level);  // "local", "one", "majority", "all"

// One put, delete or touch. Views need to live only until Write returns.
struct WriteItem {
  std::int32_t type = 0;
  std::string_view key;
  std::string_view value;
  bool remove = false;
  std::int64_t ttl_ms = 0;  // 0 = never expires; ignored for a delete
  // What these are for depends on what is there; where it is not, nothing is done, and the outcome
  // says so. Such items come after all others, and no other item of the write has the same key.
  bool touch = false;  // what is there keeps its value, and has this time to live from now on
  std::optional<Version> found = std::nullopt;  // a delete of this very version, and no other

  bool depends() const { return touch || found.has_value(); }
};

struct WriteOptions {
  AckLevel ack = AckLevel::kAll;
  std::int64_t timeout_ms = 1000;
  // The one item is written only if this holds. Requires: `ack` is kAll.
  std::optional<Condition> condition{};
};

struct WriteOutcome {
  AckLevel required = AckLevel::kAll;
  bool met = false;                  // false: the wait ended without; the write stands
  std::uint32_t peers = 0;           // peers counted for this write
  std::uint32_t acked = 0;           // that many of them have applied it
  std::vector<std::string> pending;  // names of the others, oldest first
  Version version;                   // of the last item that was applied
  // Places of the items that were not, rising: what they depend on was not there.
  std::vector<std::uint32_t> absent = {};
  // Of a write on a condition alone.
  bool failed = false;                 // the condition does not hold, nothing was applied
  std::optional<Version> found = {};   // then: what is live here
  std::optional<Version> winner = {};  // it was applied, and this greater write stands

  // The version of item `at` of the `count` that were applied: those of a write follow each other.
  Version VersionOf(std::size_t at, std::size_t count) const {
    return {version.hlc - (count - 1 - at), version.origin};
  }
};

// Called exactly once, from any thread, maybe before Write returns; never under a lock of ours.
using WriteDone = std::function<void(const WriteOutcome&)>;

// Why a write was not taken; nothing of it was applied.
enum class WriteRefusal : std::uint8_t {
  kNone,
  kNotReady,
  kDraining,
  kOutOfMemory,
  kTooLarge,  // values over kMaxTouchedBytes (limits.h) would have to be written anew
};

enum class NodeState : std::uint8_t { kBootstrapping, kReady, kDraining };
std::string_view ToString(NodeState state);  // "bootstrapping", "ready", "draining"

struct BootstrapReport {
  std::string donor;  // name; empty: knowingly first, or not done
  std::uint64_t entries = 0;
  std::uint64_t bytes = 0;
  std::int64_t ms = 0;  // so far, or in all once synced
};

struct NodeStatus {
  NodeState state = NodeState::kBootstrapping;
  bool ready = false;
  std::string reason;  // why it is not ready, for people; empty when ready
  Incarnation incarnation = 0;
  BootstrapReport bootstrap;
  std::uint64_t hlc = 0;
  std::uint64_t backlog_bytes = 0;
  std::uint64_t expired = 0;  // entries that expired here since the start
};

enum class LinkState : std::uint8_t { kConnecting, kStreaming, kRepairing, kLegacy, kRefused };
std::string_view ToString(LinkState state);  // "connecting", "streaming", ...

struct PeerStatus {
  PodRecord record;
  LinkState state = LinkState::kConnecting;
  bool legacy = false;  // protocol hellorpc
  std::uint64_t acked_seq = 0;
  std::uint64_t behind_entries = 0;  // our writes that it has not acknowledged
  std::uint64_t behind_bytes = 0;
  std::int64_t lag_ms = 0;            // age of the oldest of these that we still hold
  std::int64_t last_ack_ms_ago = -1;  // -1 = never
  std::int64_t clock_ahead_ms = 0;    // of ours; 0 as long as it has told nothing
  // Why there is no stream, or what a legacy peer could not do; empty when all is well.
  std::string error;
};

enum class EventKind : std::uint8_t {
  kPeerAdded,
  kPeerRemoved,
  kPeerConnected,
  kPeerLost,
  kPeerRefused,
  kBootstrapStarted,
  kBootstrapDone,
  kReady,
  kNotReady,  // the reason changed while bootstrapping
  kRepairDone,
  kDeadDropped,
  kClocksApart,   // a peer's clock and ours; detail: which one is ahead, empty when no more
  kFloorHeld,     // by a peer, for longer than tombstone-ttl; or not any more
  kGetAllFailed,  // of a legacy peer
  kDraining,
  kDrained,
};
std::string_view ToString(EventKind kind);  // "peer_added", ...

// Something that an operator would want to read; the driver's observer logs and counts it.
struct Event {
  EventKind kind;
  std::string peer;    // name; empty where no peer is concerned
  std::string detail;  // for people
  std::vector<std::pair<std::string_view, std::uint64_t>> numbers;  // static names
};

}  // namespace podmirror::sync
