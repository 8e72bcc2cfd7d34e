// The part of Witness that looks at what expires.
#include "sim/witness.h"

namespace podmirror::sim {

bool Witness::Expired(WallMs expires_at) const {
  if (expires_at == 0) return false;
  const WallMs wall = trust_clocks_ ? world_.agreed_wall() : world_.latest_wall();
  return expires_at <= wall + kAgreeing;
}

void Witness::CheckExpired() {
  for (const int pod : world_.Running()) {
    Process& at = world_.process(pod);
    Record& record = Of(at);
    std::erase_if(record.expiring, [&](std::uint64_t key_hash) {
      Seen& seen = record.seen[key_hash];
      const auto& [type, key] = keys_[key_hash];
      const EntryRef held = at.cache->Peek(type, key);
      if (!held || held->version() != seen.version) return true;
      if (!held->tombstone()) return false;
      if (!std::exchange(seen.dead, true)) CheckCalledDead(at, key_hash, seen);
      return true;
    });
  }
}

// Its own clock may hide an entry; to bury it, the clocks of all in contact have to have passed it.
void Witness::CheckCalledDead(Process& at, std::uint64_t key_hash, const Seen& seen) {
  for (const int pod : world_.Serving()) {
    const Process& other = world_.process(pod);
    if (&other == &at || !InContact(at, other, SimWorld::kAgreeMs)) continue;
    if (!Knows(at, other, SimWorld::kAgreeMs) || !Knows(other, at, SimWorld::kAgreeMs)) continue;
    const WallMs wall = SimWorld::kEpoch + world_.now() + world_.recent_skew(pod);
    if (wall + kAgreeing >= seen.expires_at) continue;
    Fail(NameOf(at) + " calls dead " + Text(keys_[key_hash].second, seen.version) +
         " (expiring), which by the clock of " + NameOf(other) + " lives for " +
         std::to_string((seen.expires_at - wall) / 1000) + " s more");
    return;
  }
}

}  // namespace podmirror::sim
