#include "sync/clocks.h"

#include <cstdlib>

namespace podmirror::sync {

void Clocks::Told(Session& session, WallMs wall, Now now) {
  session.clock.Told(wall, now.steady);
  Agree(session.clock, now);
  if (Link* link = peers_.To(session.peer)) link->peer().clock.Told(wall, now.steady);
}

void Clocks::Step(const SessionMap& sessions, Now now) {
  agreed_ = now.wall;
  for (const auto& [conn, session] : sessions) Agree(session.clock, now);
  for (Link* link : peers_.by_age()) {
    PeerState& peer = link->peer();
    Agree(peer.clock, now);
    const std::int64_t ahead = peer.clock.At(now.steady).value_or(now.wall) - now.wall;
    const bool apart = std::abs(ahead) > kClocksApartMs;
    if (apart == peer.clock_apart) continue;
    peer.clock_apart = apart;
    self_.Emit(EventKind::kClocksApart, link->record().name,
               !apart      ? "not any more"
               : ahead > 0 ? "ahead of ours"
                           : "behind ours; what has expired waits for it",
               {{"ms", static_cast<std::uint64_t>(std::abs(ahead))}});
  }
}

}  // namespace podmirror::sync
