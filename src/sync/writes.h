// Writes are our own: taken, stored, put into the backlog for the peers, and waited for. What can
// be made of a write without the node is made before: Drafts.
// Thread safety: none; belongs to the Node.
// Invariants: (1) a write is in the cache before it is in the backlog, and its version is seen by
//                 our clock before it is visible.
//             (2) a touch never brings back a value: it is merged only where the version that the
//                 value was read from is still there.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "base/env.h"
#include "sync/backlog.h"
#include "sync/conditions.h"
#include "sync/message.h"
#include "sync/peers.h"
#include "sync/self.h"
#include "sync/types.h"
#include "sync/waiters.h"

namespace podmirror::sync {

// The entries of one write, with all but their hlc. The node is locked while it takes a write, so
// whatever can be done before is done here.
// Thread safety: any thread makes them; one write takes them.
struct Drafts {
  // cache: the node's. now: from which on times to live count. Requires: items checked.
  Drafts(std::span<const WriteItem> items, const Cache& cache, Incarnation writer, WallMs now);

  // The entry of an item that depends on what is there.
  struct Dependent {
    EntryRef entry;  // null: it was not there
    Version on;      // what was there
    bool touch = false;
    std::uint32_t place = 0;  // of the item
  };

  std::vector<EntryRef> entries;      // of all other items
  KeyHashes key_hashes;               // theirs, by Cache::Warm; of small writes only
  std::vector<Dependent> dependents;  // moved behind `entries` once they are applied
  std::vector<std::uint32_t> absent;  // see WriteOutcome; known once the write is applied
  std::size_t touched_bytes = 0;      // of values; beyond kMaxTouchedBytes there are no more drafts
  bool legacy_takes = true;           // an old service can be told all of them
  WallMs at;                          // when they were made

 private:
  void AddDependent(const WriteItem& item, std::uint32_t place, const Cache& cache,
                    Version version);
};

class Writes {
 public:
  Writes(Self& self, Peers& peers)
      : self_(self), peers_(peers), backlog_(self.options.backlog_bytes), waiters_(conditions_) {}

  // Takes what `drafts` hold, unless it is refused. expired_by: as for Cache::MergeAll.
  WriteRefusal Write(Drafts& drafts, const WriteOptions& options, WriteDone done, WallMs expired_by,
                     Now now);
  WriteRefusal WriteLocal(Drafts& drafts, WallMs expired_by, Now now);

  const Backlog& backlog() const { return backlog_; }

  // --- what we say of theirs (conditions.h) ---
  // We have the data.
  void Begin(Now now) { conditions_.Begin(self_.hlc.Current(now.wall)); }
  // Our verdict on a peer's write on a condition. told: what was there when it was merged. listed:
  // its writer is one of our peers.
  Verdict Judge(const EntryId& id, const Base& base, const Cache::Told& told, bool listed, Now now);

  // --- what peers say of them ---
  void OnAck(Link& link, const Ack& ack, Now now);
  // A reply to a fragment of a large write. False: it broke the protocol.
  bool OnFragmentReply(Link& link, const FragmentReply& reply, Now now);
  // A complete pass has shown that the peer holds what it covers; or that it was dead there, where
  // it is at or below this purge floor.
  void Covered(const Link& link, std::uint64_t dead_floor);
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
  std::uint64_t Grows(const Entry& entry) const;
  WriteRefusal Refuses(const Drafts& drafts) const;
  bool Apply(Drafts& drafts, Drafts::Dependent& dependent, std::uint64_t hlc);
  void Apply(Drafts& drafts, WallMs expired_by, Now now);
  // What a write on a condition replaced; nothing, and it is answered, where its condition does not
  // hold.
  std::optional<Base> ApplyIf(const Drafts& drafts, const Condition& condition, WriteDone& done,
                              Now now);
  void Append(Drafts& drafts, const std::optional<Base>& base);
  std::vector<Waiters::Peer> Counted(bool legacy_takes) const;
  // Of a write on a condition: all, those too that can give no verdict.
  std::vector<Waiters::Peer> Judges() const;

  Self& self_;
  Peers& peers_;
  Backlog backlog_;
  Conditions conditions_;
  Waiters waiters_;
};

}  // namespace podmirror::sync
