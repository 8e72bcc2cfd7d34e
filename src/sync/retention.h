// Retention says how far tombstones may be forgotten.
//
// The purge floor is an hlc. The rule that makes it safe to forget:
//
//   F. Whoever has floor f has had every entry with an hlc up to f that anybody in its set
//      accepted.
//
// What follows from F. Let an entry with an hlc up to f arrive here, and let nothing be stored here
// under its key. By F it was here once, so it was deleted, and its tombstone is forgotten. It is
// dead: we do not take it (Repair::DeadFloor), and the other side drops it (Pass). So it does not
// matter who comes back, or how old its copy is: nothing deleted returns. A floor that is too high
// would break F, and lose entries that are alive.
//
// How the floor rises. Each peer P of our set bounds it (link_passes.h), and:
//   1. We have completed a pass with P that began at or after P's bound. It brought what P held
//      then.
//   2. P has seen that hlc (Link::BeginPass sends a heartbeat first). What P writes from then on is
//      newer.
//   3. Before that pass began, P had completed such passes with all of its own peers up to the
//      bound (`contact` in its heartbeat). So no older entry comes to P later, from a peer of P
//      that was away, while we cannot reach P.
//   4. All that was so tombstone-ttl ago (steady clock), and P counts for as long after it has left
//      the set. What a pod accepted before it was lost has had that long to come to us.
//   5. Our own clock has seen it (Hlc): our own writes come above it, even when it is set back.
// The floor is the least of the bounds, so 1 to 5 hold for all peers, which is F. Or a whole pass
// with a peer of a higher floor is complete. We have then all that it had, and it ran alone
// (Repair::MayBegin), so that nothing alive was refused meanwhile: F holds for its floor.
//
// Who is given up. A peer that has left the set for longer than tombstone-ttl, or is silent for 24
// hours, does not hold the floor. What it alone accepted meanwhile is dead when it comes back. So
// that those who come back do not do the same to the others, our floor stands still while our own
// record is away, or while most of the set is silent. Two pods that each saw the other leave do it
// to each other.
//
// Thread safety: none; belongs to the Node.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <string>
#include <vector>

#include "base/env.h"
#include "sync/peers.h"
#include "sync/self.h"

namespace podmirror::sync {

class Retention {
 public:
  Retention(Self& self, Peers& peers) : self_(self), peers_(peers) {}

  // The least of our contacts with all peers: what any of them held then, we hold.
  std::uint64_t Contact(Now now) const;
  // How far the floor may go.
  std::uint64_t Bound(Now now) const;

  // A peer of this id is listed. Returns what bounds the floor until a pass with it is complete.
  std::uint64_t Listed(const std::string& id);
  // It left the set: for tombstone-ttl it bounds the floor as if it were in it.
  void Left(const Link& link, Now now);

  // A peer has this floor: ours follows, as far as we and all whom we are in contact with may go.
  // True when it went up.
  bool Raise(std::uint64_t floor, Now now);
  // Looks once a second whether the floor may go up. True: it went, and the peers should hear of
  // it.
  bool Step(Now now);

 private:
  // What the bound was at some time.
  struct Mark {
    SteadyMs at = 0;
    std::uint64_t bound = 0;
  };
  struct Departed {
    std::uint64_t bound = 0;
    SteadyMs at = 0;
  };

  std::vector<const Link*> Holders(Now now) const;
  std::uint64_t BoundOfDeparted() const;
  std::uint64_t BoundOfLinks(Now now) const;
  void TellHeld(Now now);

  Self& self_;
  Peers& peers_;
  std::map<std::string, Departed> departed_;  // by PodRecord::id
  SteadyMs look_at_ = 0;
  SteadyMs raised_at_ = 0;
  bool held_ = false;            // somebody holds the floor for long, and that was said
  std::deque<Mark> marks_;       // the newest last; tombstone-ttl back, one each step of the floor
  std::uint64_t old_bound_ = 0;  // the newest that is older than tombstone-ttl
};

}  // namespace podmirror::sync
