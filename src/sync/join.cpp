#include "sync/join.h"

#include <algorithm>

namespace podmirror::sync {
namespace {

using Kind = JoinDecision::Kind;
using Record = JoinPeer::Record;

JoinDecision Wait(std::string reason) { return {Kind::kWait, {}, {}, std::move(reason)}; }

bool ReachesMost(const JoinView& view) {
  std::size_t listed = 1;
  std::size_t reached = 1;
  for (const JoinPeer& peer : view.peers) {
    listed += peer.foreign ? 0 : 1;
    reached += peer.reached ? 1 : 0;
  }
  return 2 * reached > listed;
}

// A peer that was not reached and may hold data that we would start without. Without a record
// nobody can tell whether it does: then two parts of a fleet must not both start, so most of those
// listed have to be at hand.
bool Blocks(const JoinPeer& peer, const JoinView& view, const JoinLimits& limits) {
  if (peer.reached) return false;
  if (peer.foreign) {
    // Where only such pods are listed, it may be we who are of the wrong cluster: time to say so.
    const bool alone = std::all_of(view.peers.begin(), view.peers.end(), [](const JoinPeer& other) {
      return other.foreign || (other.record == Record::kTerminating && !other.reached);
    });
    return alone && !limits.bootstrap_alone && view.elapsed_ms < limits.bootstrap_timeout_ms;
  }
  if (peer.record == Record::kTerminating) {
    // It may have ended since its record was written, and when its node is lost nothing tells so.
    const bool met = peer.met_synced && !limits.bootstrap_alone;
    return view.elapsed_ms <
           (met ? limits.bootstrap_timeout_ms : std::min(kAloneMs, limits.bootstrap_timeout_ms));
  }
  const bool may_hold =
      peer.record == Record::kReady || (peer.record == Record::kNone && !ReachesMost(view));
  if (!may_hold) return view.elapsed_ms < limits.bootstrap_timeout_ms;
  if (!limits.bootstrap_alone) return true;
  return view.elapsed_ms < std::min(kAloneMs, limits.bootstrap_timeout_ms);
}

// "waiting for a (Ready, not reached: connection refused), b (not reached)"; empty when none
// blocks.
std::string Missing(const JoinView& view, const JoinLimits& limits) {
  std::string names;
  for (const JoinPeer& peer : view.peers) {
    if (!Blocks(peer, view, limits)) continue;
    names += names.empty() ? "" : ", ";
    names += peer.name + (peer.record == Record::kTerminating ? " (terminating, not reached"
                          : peer.record == Record::kReady     ? " (Ready, not reached"
                                                              : " (not reached");
    names += (peer.error.empty() ? "" : ": " + peer.error) + ")";
  }
  return names.empty() ? "" : "waiting for " + names;
}

// One that cannot be first holds up the others for as long as one that is not reached.
bool Precedes(const JoinPeer& peer, const JoinView& view, const JoinLimits& limits) {
  if (!peer.reached || peer.legacy || !peer.elder) return false;
  return !peer.lost || view.elapsed_ms < limits.bootstrap_timeout_ms;
}

// The oldest peer that can give the copy; null when there is none now.
const JoinPeer* Donor(const JoinView& view) {
  for (const JoinPeer& peer : view.peers) {
    if (peer.synced && !peer.busy) return &peer;
    const bool may_come = !peer.reached && !peer.failed;
    if (may_come && view.elapsed_ms < kGatherMs) return nullptr;
  }
  return nullptr;
}

// The waiting comes first: a check that is followed by a wait says nothing of what came meanwhile.
JoinDecision Verify(const JoinView& view, const JoinLimits& limits) {
  if (std::string missing = Missing(view, limits); !missing.empty()) return Wait(missing);
  std::string unaware;
  JoinDecision decision{Kind::kVerify, {}, {}, {}};
  for (const JoinPeer& peer : view.peers) {
    if (!peer.synced) continue;
    if (!peer.link_open && view.elapsed_ms < limits.bootstrap_timeout_ms) {
      unaware += (unaware.empty() ? "waiting for the link of " : ", ") + peer.name;
    } else if (!peer.checked) {
      decision.verify.push_back(peer.id);
      decision.reason += (decision.reason.empty() ? "checking the copy with " : ", ") + peer.name;
    }
  }
  if (!unaware.empty()) return Wait(unaware);
  if (!decision.verify.empty()) return decision;
  return {Kind::kSynced, {}, {}, {}};
}

// A pod that terminates counts while it may be the only one with the data: until a peer has it, or
// says in its record that it does and is being dialled; and not when it cannot have our data.
void ForgetTerminating(JoinView& view) {
  const bool peer_has_it =
      std::any_of(view.peers.begin(), view.peers.end(), [&](const JoinPeer& peer) {
        if (peer.record == Record::kTerminating) return false;
        const bool dialled = !peer.reached && !peer.failed && view.elapsed_ms < kGatherMs;
        return peer.synced || (peer.record == Record::kReady && dialled);
      });
  std::erase_if(view.peers, [&](const JoinPeer& peer) {
    const bool empty = peer.reached && !peer.synced && !peer.legacy;
    return peer.record == Record::kTerminating && (peer_has_it || empty || peer.foreign);
  });
}

}  // namespace

JoinDecision DecideJoin(JoinView view, const JoinLimits& limits) {
  if (!view.set_known) return Wait(view.discovery_error);
  ForgetTerminating(view);
  const bool any_synced = std::any_of(view.peers.begin(), view.peers.end(),
                                      [](const JoinPeer& peer) { return peer.synced; });
  if (any_synced) {
    if (view.copied) return Verify(view, limits);
    if (const JoinPeer* donor = Donor(view)) return {Kind::kCopy, donor->id, {}, {}};
    return Wait("waiting for a donor");
  }
  // Nobody reached is synced: the oldest of those reached is first, with what it has.
  if (std::string missing = Missing(view, limits); !missing.empty()) return Wait(missing);
  for (const JoinPeer& peer : view.peers) {
    if (!Precedes(peer, view, limits)) continue;
    return Wait("waiting for " + peer.name + ", which is older, to be first" +
                (peer.lost ? ", and has no answer from discovery" : ""));
  }
  bool slow_legacy = false;
  for (const JoinPeer& peer : view.peers) {
    if (view.legacy_copied || !peer.reached || !peer.legacy) continue;
    if (!peer.busy) return {Kind::kCopy, peer.id, {}, {}};
    slow_legacy = true;
  }
  if (slow_legacy && view.elapsed_ms < limits.bootstrap_timeout_ms) {
    return Wait("waiting for a donor");
  }
  // Records that we cannot read now may say by now that a peer has the data.
  const bool recorded = std::any_of(view.peers.begin(), view.peers.end(), [](const JoinPeer& peer) {
    return peer.record != Record::kNone;
  });
  if (recorded && !view.discovery_error.empty() && !limits.bootstrap_alone) {
    return Wait(view.discovery_error);
  }
  return {Kind::kFirst, {}, {}, {}};
}

}  // namespace podmirror::sync
