// The part of Node that says what has expired for everybody.
#include <algorithm>
#include <limits>

#include "sync/node.h"

namespace podmirror::sync {

// Takes a peer's clock into account at once, where it is behind.
void Node::Agree(const PeerClock& clock, Now now) {
  agreed_ = std::min(agreed_, clock.At(now.steady).value_or(agreed_));
}

// What came on a peer's own link to us; our link to it remembers that for longer, where we have
// one.
void Node::TellClock(Now now, Session& session, WallMs wall) {
  session.clock.Told(wall, now.steady);
  Agree(session.clock, now);
  if (Link* link = LinkTo(session.peer)) link->clock().Told(wall, now.steady);
}

void Node::StepClocks(Now now) {
  agreed_ = now.wall;
  for (const auto& [conn, session] : sessions_) Agree(session.clock, now);
  for (Link* link : by_age_) {
    Agree(link->clock(), now);
    const std::int64_t ahead = link->clock().At(now.steady).value_or(now.wall) - now.wall;
    const bool apart = std::abs(ahead) > kClocksApartMs;
    if (apart == link->clock_apart()) continue;
    link->set_clock_apart(apart);
    Emit(EventKind::kClocksApart, link->record().name,
         !apart      ? "not any more"
         : ahead > 0 ? "ahead of ours"
                     : "behind ours; what has expired waits for it",
         {{"ms", static_cast<std::uint64_t>(std::abs(ahead))}});
  }
}

}  // namespace podmirror::sync
