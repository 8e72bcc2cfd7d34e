#include "sync/retention.h"

#include <algorithm>
#include <limits>

namespace podmirror::sync {
namespace {

constexpr std::int64_t kSilentMs = 24 * 3'600'000;
constexpr std::int64_t kLookMs = 1000;
constexpr std::int64_t kFloorSteps = 16;  // the floor advances every tombstone-ttl / 16

}  // namespace

// The links whose peers bound the floor. Only most may give up the others, or both sides of a cut
// would; of two halves, the one with the oldest pod. Duplicates are no peers, and a legacy peer
// that answers remembers no tombstones.
std::vector<const Link*> Retention::Holders(Now now) const {
  const auto silent = [&](const Link* link) {
    return now.steady - link->passes().contact_at() > kSilentMs;
  };
  std::vector<const Link*> links;
  for (const Link* link : peers_.by_age()) {
    const bool legacy = link->legacy() && link->open();
    if (!link->duplicate() && !link->foreign() && !legacy) links.push_back(link);
  }
  const auto gone = static_cast<std::size_t>(std::count_if(links.begin(), links.end(), silent));
  if (gone == 0) return links;
  PodRecord self;
  self.uid = self_.options.self.uid;
  self.started_at_ms = peers_.self_started_at_ms();
  const PodRecord& oldest = links.front()->record();
  const bool known = self.started_at_ms != 0 && oldest.started_at_ms != 0;
  const bool oldest_is_here = known && (!silent(links.front()) || OlderThan(self, oldest));
  const std::size_t all = links.size() + 1;
  if (2 * gone < all || (2 * gone == all && oldest_is_here)) std::erase_if(links, silent);
  return links;
}

std::uint64_t Retention::BoundOfDeparted() const {
  std::uint64_t lowest = std::numeric_limits<std::uint64_t>::max();
  for (const auto& [id, departed] : departed_) lowest = std::min(lowest, departed.bound);
  return lowest;
}

std::uint64_t Retention::Contact(Now now) const {
  std::uint64_t lowest = std::min(self_.hlc.Current(now.wall), BoundOfDeparted());
  for (const Link* link : Holders(now)) lowest = std::min(lowest, link->passes().contact());
  return lowest;
}

std::uint64_t Retention::BoundOfLinks(Now now) const {
  std::uint64_t lowest = self_.hlc.Current(now.wall);
  for (const Link* link : Holders(now)) lowest = std::min(lowest, link->passes().bound());
  return lowest;
}

std::uint64_t Retention::Bound(Now now) const {
  return std::min(BoundOfLinks(now), BoundOfDeparted());
}

std::uint64_t Retention::Listed(const std::string& id) {
  const auto departed = departed_.find(id);
  if (departed == departed_.end()) return self_.cache.purge_floor();
  const std::uint64_t bound = departed->second.bound;
  departed_.erase(departed);
  return bound;
}

void Retention::Left(const Link& link, Now now) {
  if (link.duplicate() || link.foreign() || link.legacy()) return;
  departed_[link.id()] = {link.passes().bound(), now.steady};
}

bool Retention::Raise(std::uint64_t floor, Now now) {
  if (!self_.synced || !peers_.listed() || floor <= self_.cache.purge_floor()) return false;
  floor = std::min(floor, Bound(now));
  for (const Link* link : peers_.by_age()) {
    if (link->synced()) floor = std::min(floor, link->peer().bound);
  }
  if (floor <= self_.cache.purge_floor()) return false;
  self_.cache.RaiseFloor(floor);
  raised_at_ = now.steady;
  return true;
}

// Whoever advances first takes the others along, and goes only so far as they can follow, so that
// all forget at the same time and their digests stay equal.
bool Retention::Step(Now now) {
  if (now.steady < look_at_) return false;
  look_at_ = now.steady + kLookMs;
  if (!self_.synced || !peers_.listed()) return false;
  const std::int64_t ttl = self_.options.tombstone_ttl_ms;
  const std::int64_t step = std::max<std::int64_t>(ttl / kFloorSteps, 1);
  if (marks_.empty() || now.steady - marks_.back().at >= step) {
    // Alone, that is what our clock says: a write of ours must not come below it, even when the
    // clock is set back.
    marks_.push_back({now.steady, BoundOfLinks(now)});
    self_.hlc.Observe(marks_.back().bound);
  }
  while (!marks_.empty() && now.steady - marks_.front().at >= ttl) {
    old_bound_ = std::max(old_bound_, marks_.front().bound);
    marks_.pop_front();
  }
  for (const Link* link : peers_.by_age()) {
    if (link->open()) Raise(link->peer().purge_floor, now);
  }
  const bool raised = now.steady - raised_at_ >= step && Raise(old_bound_, now);
  TellHeld(now);
  std::erase_if(departed_, [&](const auto& item) { return now.steady - item.second.at >= ttl; });
  return raised;
}

// Whoever has had no pass for longer than tombstones are kept holds all of them: worth a word, for
// it may be for a day.
void Retention::TellHeld(Now now) {
  const Link* holds = nullptr;
  for (const Link* link : Holders(now)) {
    if (holds == nullptr || link->passes().contact_at() < holds->passes().contact_at()) {
      holds = link;
    }
  }
  const std::int64_t held_ms = holds == nullptr ? 0 : now.steady - holds->passes().contact_at();
  const bool held = held_ms > self_.options.tombstone_ttl_ms;
  if (held == held_) return;
  held_ = held;
  if (held) {
    self_.Emit(EventKind::kFloorHeld, holds->record().name, "no repair pass with it",
               {{"seconds", static_cast<std::uint64_t>(held_ms) / 1000}});
  } else {
    self_.Emit(EventKind::kFloorHeld, {}, "not any more");
  }
}

}  // namespace podmirror::sync
