// Repair runs the passes with all peers: when each begins, what comes of it, and what is dead
// meanwhile. A pass itself: pass.h; with a peer that speaks hellorpc.Sync only: legacy_pass.h.
// Thread safety: none; belongs to the Node.
#pragma once

#include <cstdint>
#include <optional>

#include "base/env.h"
#include "sync/assembly.h"
#include "sync/message.h"
#include "sync/peers.h"
#include "sync/self.h"
#include "sync/sessions.h"
#include "sync/writes.h"

namespace podmirror::sync {

class Repair {
 public:
  Repair(Self& self, Peers& peers, Writes& writes, Assembly& assembly)
      : self_(self), peers_(peers), writes_(writes), assembly_(assembly) {}

  // Begins and ends passes with this peer, as is due.
  void Step(Link& link, Now now);
  // Begins one now, unless that has to wait for another pass.
  void Begin(Link& link, Now now);
  // The link is about to lose its stream: its pass is over.
  void Lost(const Link& link) { TellDropped(link); }

  // Sums, OfferReply, PushReply. False: the peer broke the protocol.
  bool OnMessage(Link& link, const Message& message, WallMs expired_by, Now now);
  // A fragment that a pass asked for has been taken. False: the peer broke the protocol.
  bool OnFragment(Link& link, const Fragment& fragment, const Assembly::Taken& taken, Now now);
  // A fragment of a large write was answered. write: what it is part of, which is complete now
  // unless it is still on its way.
  void OnWriteFragment(Link& link, const EntryId& write, Now now);
  // A reply to a fragment that a pass pushed. False: the peer broke the protocol.
  bool OnFragmentReply(Link& link, const FragmentReply& reply, Now now);
  // What a legacy peer holds, or that it cannot tell.
  void OnLegacyCopy(Link& link, const FetchReply& reply, Now now);

  // What comes at or below this hlc and is missing here is dead. `from`: whose message it is, null
  // when we have no link to it.
  std::optional<std::uint64_t> DeadFloor(const Message& message, const Link* from) const;

  bool HasNext(const Link& link, Now now) const;
  Outgoing Next(Link& link, Now now);

 private:
  void StepLegacy(Link& link, Now now);
  void End(Link& link, Now now);
  bool Due(const Link& link, Now now) const;
  std::optional<EntryId> WriteOn(const Link& link) const;
  bool MayBegin(const Link& link) const;
  bool OldestSynced() const;
  SteadyMs NextAt(Now now);
  void TellDropped(const Link& link);

  Self& self_;
  Peers& peers_;
  Writes& writes_;
  Assembly& assembly_;
  std::uint64_t next_pass_ = 1;
};

}  // namespace podmirror::sync
