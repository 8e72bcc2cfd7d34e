// The part of Node that says how far tombstones may be forgotten.
//
// The purge floor is an hlc up to which we have had everything that anybody in our set accepted. So
// tombstones up to it need not be kept: what comes later at or below it, and is missing here, was
// deleted, and is dead (DeadFloor, and Pass for what the other side holds). That makes it safe for
// the data to forget, whoever comes back with whatever; and a floor that was set too high would
// lose what is still alive. Why it is not: for each peer P of the set,
//   - a pass with P was completed that began at or after the floor, and P has seen that hlc, so
//     what P writes from then on is newer;
//   - before that pass began, P had completed such passes with all peers of its own (`reached`),
//     so nothing older can come to P later, by one that was away, while we cannot reach P;
//   - P did not leave the set less than tombstone-ttl ago, and all that was so tombstone-ttl ago
//     (steady clock): what a pod accepted before it was lost has had so long to come to us.
// Or we have had it from a peer of a higher floor: a whole pass with it, during which nothing that
// is alive was refused, as it runs alone (MayBegin). Then its floor is ours, whatever our reach.
// A peer that is lost from the set for longer, or silent for 24 hours, is not waited for: what it
// alone accepted meanwhile is dead when it comes back. Our own floor stands still while our record
// is away or most peers are silent, so that those who come back do not do the same to the others;
// only two that each saw the other leave do it to each other.
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
