// Writes are our own: taken, stored, put into the backlog for the peers, and waited for.
// Thread safety: none; belongs to the Node.
// Invariant: a write is in the cache before it is in the backlog, and its version is seen by our
//            clock before it is visible.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/env.h"
#include "sync/backlog.h"
#include "sync/message.h"
#include "sync/peers.h"
#include "sync/self.h"
#include "sync/types.h"
#include "sync/waiters.h"

namespace podmirror::sync {

class Writes {
 public:
  Writes(Self& self, Peers& peers)
      : self_(self), peers_(peers), backlog_(self.options.backlog_bytes) {}

  // expired_by: as for Cache::MergeAll.
  WriteRefusal Write(std::span<const WriteItem> items, const WriteOptions& options, WriteDone done,
                     WallMs expired_by, Now now);
  WriteRefusal WriteLocal(std::span<const WriteItem> items, WallMs expired_by, Now now);

  const Backlog& backlog() const { return backlog_; }

  // --- what peers say of them ---
  void OnAck(Link& link, const Ack& ack, Now now);
  // A reply to a fragment of a large write. False: it broke the protocol.
  bool OnFragmentReply(Link& link, const FragmentReply& reply, Now now);
  // A complete pass has shown that the peer holds what it covers.
  void Covered(const Link& link);
  // The peer was met as an old service: it cannot be told all that waits for it.
  void Legacy(const Link& link) { waiters_.Legacy(link.record(), self_.ready.completions); }
  // The stream of this link is lost.
  void Lost(const Link& link);
  // It does not count any more.
  void Removed(const Link& link) { waiters_.Removed(link.record(), self_.ready.completions); }

  // Ends what has waited long enough.
  void Step(Now now) { waiters_.Tick(now.steady, self_.ready.completions); }
  // Answers every write that waits for peers, as far as it has come.
  void EndWaits() { waiters_.EndAll(self_.ready.completions); }

 private:
  std::uint64_t Grows(const WriteItem& item) const;
  WriteRefusal Refuses(std::span<const WriteItem> items) const;
  std::vector<EntryRef> Apply(std::span<const WriteItem> items, WallMs expired_by, Now now);
  std::vector<Waiters::Peer> Counted(bool legacy_takes) const;

  Self& self_;
  Peers& peers_;
  Backlog backlog_;
  Waiters waiters_;
};

}  // namespace podmirror::sync
