// The part of Node that says how far tombstones may be forgotten.
#include <algorithm>
#include <limits>

#include "sync/node.h"

namespace podmirror::sync {
namespace {

// A peer that was not contacted for so long does not hold the purge floor any more.
constexpr std::int64_t kForgetMs = 24 * 3'600'000;
constexpr std::int64_t kFloorSteps = 16;  // the floor advances every tombstone-ttl / 16
constexpr std::size_t kMaxContacts = 16384;

}  // namespace

// What a pod that was away brings may be older than our contact with others who do not have it.
void Node::NoteLate(const std::vector<EntryRef>& entries, const Link* from) {
  std::uint64_t hlc = std::numeric_limits<std::uint64_t>::max();
  const std::uint64_t floor = cache_.purge_floor();  // at or below it, it is too late for any care
  for (const EntryRef& entry : entries) {
    if (entry->version().hlc > floor) hlc = std::min(hlc, entry->version().hlc);
  }
  const std::uint64_t before = hlc - 1;
  if (bootstrap_.copy && (from == nullptr || from->id() != bootstrap_.copy->donor)) {
    bootstrap_.late = std::min(bootstrap_.late, before);
  }
  if (hlc > newest_contact_) return;
  for (Link* link : by_age_) {
    if (link != from) link->Late(before);
  }
  for (auto& [uid, departed] : departed_) {
    departed.floor_contact = std::min(departed.floor_contact, before);
  }
  // Those in the set will have it with the next pass.
  for (auto& [uid, contact] : contacts_) {
    if (contact > before && !links_.contains(uid)) contact = before;
  }
}

// Up to here, in hlc, every daemon of the set has had what we have: a pass with it has completed
// that began so late, and it has seen that hlc, so that what it writes from then on is newer.
std::uint64_t Node::ReachedNow(Now now) const {
  std::uint64_t reached = hlc_.Current(now.wall);
  for (const Link* link : by_age_) {
    const bool deaf = link->duplicate() || (link->legacy() && link->open());
    if (deaf || now.steady - link->contact_at() > kForgetMs) continue;
    reached = std::min(reached, link->floor_contact());
  }
  return reached;
}

// How far the purge floor may go at all: those that left a short while ago count, too.
std::uint64_t Node::Reach(Now now) const {
  std::uint64_t reached = ReachedNow(now);
  for (const auto& [uid, departed] : departed_) {
    reached = std::min(reached, departed.floor_contact);
  }
  return reached;
}

// As far as we and all whom we are in contact with may go. True when it went up.
bool Node::RaiseFloor(Now now, std::uint64_t floor) {
  if (!synced_ || floor <= cache_.purge_floor()) return false;
  floor = std::min(floor, Reach(now));
  for (const Link* link : by_age_) {
    if (link->synced()) floor = std::min(floor, link->peer_reached());
  }
  if (floor <= cache_.purge_floor()) return false;
  cache_.Purge(floor);
  floor_at_ = now.steady;
  return true;
}

// The floor is what was reached tombstone-ttl ago by the steady clock: what is on its way to us
// from a pod that has died or left has so long to arrive, whatever the wall clocks do, and one that
// has left has so long to come back. Whoever advances first takes the others along, and goes only
// so far as they can follow, so that all forget the same at the same time: what one has forgotten
// is lost for whoever comes back, and it does not help if another keeps it.
void Node::AdvanceFloor(Now now) {
  if (!synced_) return;
  const std::int64_t ttl = options_.tombstone_ttl_ms;
  const std::int64_t step = std::max<std::int64_t>(ttl / kFloorSteps, 1);
  if (reached_.empty() || now.steady - reached_.back().at >= step) {
    reached_.push_back({now.steady, ReachedNow(now)});
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
  std::erase_if(departed_, [&](const auto& item) { return now.steady - item.second.at >= ttl; });
  while (contacts_.size() > kMaxContacts) {
    contacts_.erase(
        std::min_element(contacts_.begin(), contacts_.end(),
                         [](const auto& a, const auto& b) { return a.second < b.second; }));
  }
}

}  // namespace podmirror::sync
