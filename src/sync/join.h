// Join decides how a starting node gets its copy and when it may call itself synced. It is a pure
// decision over what is known of the peers; the Node carries it out.
// Thread safety: plain values and pure functions.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/env.h"

namespace podmirror::sync {

// One peer of the set, or a pod that terminates, as the joiner sees it now.
struct JoinPeer {
  // What its pod record says.
  enum class Record {
    kNone,  // there is none, as in a static list
    kNotReady,
    kReady,
    kTerminating,  // the pod is being deleted
  };
  std::string id;
  std::string name;
  bool reached = false;  // there is a stream, the handshake succeeded
  bool failed = false;   // at least one attempt was in vain
  Record record = Record::kNotReady;
  bool foreign = false;  // of another cluster: it cannot hold our data
  bool legacy = false;
  bool synced = false;
  bool met_synced = false;  // it was so when we last had a stream to it
  bool elder = false;       // its process is older than ours (ties: smaller UID)
  bool lost = false;        // it waits for an answer from discovery, so it cannot be first
  bool busy = false;        // said so a moment ago
  bool link_open = false;   // says that its own link to us is open
  bool checked = false;     // see Link::Checked
  std::string error;
};

struct JoinView {
  bool set_known = false;       // there has been a good answer that lists ourselves
  std::string discovery_error;  // why the last answer is no good one; empty: it is
  std::int64_t elapsed_ms = 0;  // since the set is known
  bool copied = false;          // a copy from a donor is complete
  bool legacy_copied = false;   // a legacy donor's GetAll was merged
  std::vector<JoinPeer> peers;  // oldest first, without ourselves
};

struct JoinLimits {
  std::int64_t bootstrap_timeout_ms = 30'000;
  bool bootstrap_alone = false;
};

struct JoinDecision {
  enum class Kind {
    kWait,    // for what `reason` says
    kCopy,    // from `peer`
    kVerify,  // a pass with each of `verify`
    kFirst,   // synced with what we have: nobody else holds the data
    kSynced,  // the copy is complete and checked
  };
  Kind kind = Kind::kWait;
  std::string peer;
  std::vector<std::string> verify;
  std::string reason;
};

// How long a younger donor is passed over in favour of an older peer not heard of yet.
inline constexpr std::int64_t kGatherMs = 1000;
// A donor that has not answered for so long, or could not, is passed over for as long.
inline constexpr std::int64_t kFetchStuckMs = 10'000;
// How long a pod out of reach holds up the start if it terminates and was never met; with
// bootstrap_alone, whoever may have the data.
inline constexpr std::int64_t kAloneMs = 5000;

JoinDecision DecideJoin(JoinView view, const JoinLimits& limits);

}  // namespace podmirror::sync
