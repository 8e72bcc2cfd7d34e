// The part of Node that says how far tombstones may be forgotten.
//
// The purge floor is an hlc. The rule that makes it safe to forget:
//
//   F. Whoever has floor f has had every entry with an hlc up to f that anybody in its set
//      accepted.
//
// What follows from F. Let an entry with an hlc up to f arrive here, and let nothing be stored here
// under its key. By F it was here once, so it was deleted, and its tombstone is forgotten. It is
// dead: we do not take it (DeadFloor), and the other side drops it (Pass). So it does not matter
// who comes back, or how old its copy is: nothing deleted returns. A floor that is too high would
// break F, and lose entries that are alive.
//
// How the floor rises. A peer P of our set allows the floor to go up to reach(P), and:
//   1. We have completed a pass with P that began at or after reach(P). It brought what P held
//      then.
//   2. P has seen that hlc (BeginPass sends a heartbeat first). What P writes from then on is
//      newer.
//   3. Before that pass began, P had completed such passes with all of its own peers up to
//      reach(P) (`reached` in its heartbeat). So no older entry comes to P later, from a peer of P
//      that was away, while we cannot reach P.
//   4. All that was so tombstone-ttl ago (steady clock), and P counts for as long after it has
//      left the set. What a pod accepted before it was lost has had that long to come to us.
//   5. Our own clock has seen it (Hlc): our own writes come above it, even when it is set back.
// The floor is the least of the reaches, so 1 to 5 hold for all peers, which is F. Or a whole pass
// with a peer of a higher floor is complete. We have then all that it had, and it ran alone
// (MayBegin), so that nothing alive was refused meanwhile: F holds for its floor.
//
// Who is given up. A peer that has left the set for longer than tombstone-ttl, or is silent for 24
// hours, does not hold the floor. What it alone accepted meanwhile is dead when it comes back. So
// that those who come back do not do the same to the others, our floor stands still while our own
// record is away, or while most of the set is silent. Two pods that each saw the other leave do it
// to each other.
#include <algorithm>
#include <limits>

#include "sync/node.h"

namespace podmirror::sync {
namespace {

constexpr std::int64_t kSilentMs = 24 * 3'600'000;
constexpr std::int64_t kFloorSteps = 16;  // the floor advances every tombstone-ttl / 16

}  // namespace

// Only most may give up the others, or both sides of a cut would; of two halves, the one with the
// oldest pod. Duplicates are no peers, and a legacy peer that answers remembers no tombstones.
std::vector<const Link*> Node::HoldingLinks(Now now) const {
  const auto silent = [&](const Link* link) { return now.steady - link->contact_at() > kSilentMs; };
  std::vector<const Link*> links;
  for (const Link* link : by_age_) {
    const bool legacy = link->legacy() && link->open();
    if (!link->duplicate() && !link->foreign() && !legacy) links.push_back(link);
  }
  const auto gone = static_cast<std::size_t>(std::count_if(links.begin(), links.end(), silent));
  if (gone == 0) return links;
  PodRecord self;
  self.uid = options_.self.uid;
  self.started_at_ms = set_ ? set_->self_started_at_ms : 0;
  const PodRecord& oldest = links.front()->record();
  const bool known = self.started_at_ms != 0 && oldest.started_at_ms != 0;
  const bool oldest_is_here = known && (!silent(links.front()) || OlderThan(self, oldest));
  const std::size_t all = links.size() + 1;
  if (2 * gone < all || (2 * gone == all && oldest_is_here)) std::erase_if(links, silent);
  return links;
}

std::uint64_t Node::LowestOfDeparted() const {
  std::uint64_t lowest = std::numeric_limits<std::uint64_t>::max();
  for (const auto& [uid, departed] : departed_) lowest = std::min(lowest, departed.reach);
  return lowest;
}

// Up to here, in hlc, our passes with all peers have come: what any of them held then, we hold.
std::uint64_t Node::Reached(Now now) const {
  std::uint64_t lowest = std::min(hlc_.Current(now.wall), LowestOfDeparted());
  for (const Link* link : HoldingLinks(now)) lowest = std::min(lowest, link->contact());
  return lowest;
}

// How far the floor may go by those that are in the set.
std::uint64_t Node::ReachOfLinks(Now now) const {
  std::uint64_t lowest = hlc_.Current(now.wall);
  for (const Link* link : HoldingLinks(now)) lowest = std::min(lowest, link->reach());
  return lowest;
}

std::uint64_t Node::Reach(Now now) const { return std::min(ReachOfLinks(now), LowestOfDeparted()); }

// As far as we and all whom we are in contact with may go. True when it went up.
bool Node::RaiseFloor(Now now, std::uint64_t floor) {
  if (!synced_ || !listed_ || floor <= cache_.purge_floor()) return false;
  floor = std::min(floor, Reach(now));
  for (const Link* link : by_age_) {
    if (link->synced()) floor = std::min(floor, link->peer_reach());
  }
  if (floor <= cache_.purge_floor()) return false;
  cache_.RaiseFloor(floor);
  floor_at_ = now.steady;
  return true;
}

// Whoever advances first takes the others along, and goes only so far as they can follow, so that
// all forget at the same time and their digests stay equal.
void Node::AdvanceFloor(Now now) {
  if (!synced_ || !listed_) return;
  const std::int64_t ttl = options_.tombstone_ttl_ms;
  const std::int64_t step = std::max<std::int64_t>(ttl / kFloorSteps, 1);
  if (reached_.empty() || now.steady - reached_.back().at >= step) {
    // Alone, that is what our clock says: a write of ours must not come below it, even when the
    // clock is set back.
    reached_.push_back({now.steady, ReachOfLinks(now)});
    hlc_.Observe(reached_.back().hlc);
  }
  while (!reached_.empty() && now.steady - reached_.front().at >= ttl) {
    matured_ = std::max(matured_, reached_.front().hlc);
    reached_.pop_front();
  }
  for (const Link* link : by_age_) {
    if (link->open()) RaiseFloor(now, link->peer_floor());
  }
  if (now.steady - floor_at_ >= step && RaiseFloor(now, matured_)) {
    for (Link* link : by_age_) {
      link->HeartbeatNow();
      StepLink(now, *link);
    }
  }
  TellFloorHeld(now);
  std::erase_if(departed_, [&](const auto& item) { return now.steady - item.second.at >= ttl; });
}

// Whoever has had no pass for longer than tombstones are kept holds all of them: worth a word, for
// it may be for a day.
void Node::TellFloorHeld(Now now) {
  const Link* holds = nullptr;
  for (const Link* link : HoldingLinks(now)) {
    if (holds == nullptr || link->contact_at() < holds->contact_at()) holds = link;
  }
  const std::int64_t held_ms = holds == nullptr ? 0 : now.steady - holds->contact_at();
  const bool held = held_ms > options_.tombstone_ttl_ms;
  if (held == floor_held_) return;
  floor_held_ = held;
  if (held) {
    Emit(EventKind::kFloorHeld, holds->record().name, "no repair pass with it",
         {{"seconds", static_cast<std::uint64_t>(held_ms) / 1000}});
  } else {
    Emit(EventKind::kFloorHeld, {}, "not any more");
  }
}

}  // namespace podmirror::sync
