// Clocks say what has expired for everybody: what the clocks of all peers in contact, and of those
// that were, have passed (clock.h).
// Thread safety: none; belongs to the Node.
#pragma once

#include <algorithm>

#include "base/env.h"
#include "sync/peers.h"
#include "sync/self.h"
#include "sync/session.h"

namespace podmirror::sync {

class Clocks {
 public:
  Clocks(Self& self, Peers& peers, WallMs wall) : self_(self), peers_(peers), agreed_(wall) {}

  // A moment that our clock and those of all peers have passed: what ended before it has expired
  // for everybody. Never later than now.wall; up to one Step old.
  WallMs Agreed(Now now) const { return std::min(now.wall, agreed_); }

  // Takes a peer's clock into account at once, where it is behind.
  void Agree(const PeerClock& clock, Now now) {
    agreed_ = std::min(agreed_, clock.At(now.steady).value_or(agreed_));
  }
  // What came on a peer's own link to us; our link to it remembers that for longer, where we have
  // one.
  void Told(Session& session, WallMs wall, Now now);
  // Looks at all of them, and says whose clock is far from ours.
  void Step(const SessionMap& sessions, Now now);

 private:
  Self& self_;
  Peers& peers_;
  WallMs agreed_;
};

}  // namespace podmirror::sync
