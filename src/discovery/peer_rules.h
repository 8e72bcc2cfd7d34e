// Which pods are peers: pure functions from a decoded pod to a judgement, and from all judgements
// to the peer set.
// Thread safety: const after construction.
// Invariants: (1) every text that leaves here as part of a PodRecord is printable ASCII of at most
//                 253 bytes, its ip canonical.
//             (2) a set holds each id and each address once, and never this pod's own.
#pragma once

#include <string>
#include <vector>

#include "base/peer.h"
#include "base/status.h"
#include "discovery/peer_source.h"
#include "discovery/pod_record.h"
#include "discovery/selector.h"

namespace podmirror::discovery {

enum class Verdict {
  kPeer,
  kTerminating,          // it would be a peer, but it is being deleted
  kSelf,                 // this pod's own record, in any phase, if it is one of our service
  kOtherNamespace,       // the record names another namespace than ours
  kNotSelected,          // neither the name nor the labels are those of our service
  kNotRunning,           // the pod has ended, or is in a phase that we do not know
  kNoAddress,            // no podIP yet
  kContainerNotRunning,  // the daemon's container waits, crash-loops, has ended or does not exist
};

// What is kept of one record.
struct Judgement {
  Verdict verdict = Verdict::kNotSelected;
  PodRecord record;          // of kPeer, kTerminating and kSelf; the address of kSelf may be empty
  WallMs start_time_ms = 0;  // when the pod, not its container, was started
};

class PeerRules {
 public:
  // kInvalid naming the setting that is wrong.
  static Result<PeerRules> New(PodFilter filter);

  // kInvalid with the reason when the record holds what no pod can have, such as a podIP that is
  // not an address.
  Result<Judgement> Judge(const Pod& pod) const;

  // The peers among `judgements`, and those that terminate, each oldest first. No two have the same
  // address or UID, and none has our address: such records are left from pods that are gone. Peers
  // go before those that terminate, then the one that was started last.
  PeerSet MakeSet(const std::vector<const Judgement*>& judgements, std::string where) const;

  const std::string& ns() const { return filter_.ns; }

 private:
  PeerRules(PodFilter filter, Selector selector);

  bool IsSelected(const Pod& pod) const;
  bool IsSelf(const PodRecord& record) const;

  PodFilter filter_;
  Selector selector_;
};

}  // namespace podmirror::discovery
