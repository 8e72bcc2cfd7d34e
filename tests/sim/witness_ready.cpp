// The part of Witness that looks at whoever becomes ready.
#include <algorithm>

#include "sim/witness.h"
#include "sync/join.h"

namespace podmirror::sim {
namespace {

// What happened so long ago has come to a joiner, or its check has to begin anew: a lost stream is
// noticed and dialled again within it.
constexpr SteadyMs kHeardMs = 15'000;
constexpr SteadyMs kSlowlyMs = 120'000;
constexpr SteadyMs kTelling = 1500;    // that it is synced says the next heartbeat of a pod
constexpr SteadyMs kInReach = 10'000;  // heard for so long: it has to have been asked

// The version that is stored for a key hash, tombstones too; none is the lowest.
Version Stored(const Cache& cache, std::uint64_t key_hash) {
  Version newest;
  for (const EntryRef& entry : cache.Bucket(BucketOf(key_hash))) {
    if (entry->key_hash() == key_hash) newest = std::max(newest, entry->version());
  }
  return newest;
}

}  // namespace

void Witness::TakeBase(Record& record, const Process& self) {
  record.base.clear();
  record.base_of.clear();
  record.base_valid = true;
  std::map<std::uint64_t, std::size_t> holders;
  const std::vector<int> serving = world_.Serving();
  for (const int pod : serving) {
    const Process& other = world_.process(pod);
    if (&other == &self || other.draining || world_.terminating(pod)) continue;
    // A pod that is not listed, or whose record does not say Ready yet, is not waited for.
    if (!world_.listed(pod) || !world_.record_ready(pod)) {
      record.base_valid = false;
      return;
    }
    record.base_of.insert(other.serial);
    for (const auto& [key, seen] : Of(other).seen) {
      if (seen.version == Version{}) continue;
      const auto [held, added] = record.base.try_emplace(key, seen);
      if (!added && seen.version < held->second.version) held->second = seen;
      ++holders[key];
    }
  }
  for (auto it = record.base.begin(); it != record.base.end();) {
    if (holders[it->first] < record.base_of.size()) {
      record.base.erase(it++);
    } else {
      ++it;
    }
  }
}

void Witness::Started(Process& process) {
  records_.resize(world_.processes().size());
  for (const auto& other : world_.processes()) {
    if (other->alive && !Of(*other).told.contains(world_.IdOf(process))) {
      Of(process).missing_since[other->serial] = world_.now();
    }
  }
  TakeBase(Of(process), process);
}

void Witness::BecameReady(Process& process) {
  CheckMost(process);
  // Told to start without those that it misses.
  if (options_.bootstrap_alone) return;
  CheckHeard(process);
  CheckSuccessor(process);
  Record& record = Of(process);
  if (!record.base_valid) return;
  // One that all others took for lost by its record may have been left behind.
  const bool one_served =
      std::any_of(record.base_of.begin(), record.base_of.end(), [&](std::uint64_t serial) {
        const Process& other = *world_.processes()[serial];
        return other.alive && other.was_ready && !other.paused &&
               record.told_ready.contains(world_.IdOf(other));
      });
  if (!one_served) return;
  for (const auto& [key, base] : record.base) {
    // The cache itself is asked: what came with the last message has not been looked at yet.
    if (Stored(*process.cache, key) >= base.version) continue;
    // A tombstone that all have forgotten need not be copied.
    const bool known = std::any_of(
        world_.processes().begin(), world_.processes().end(), [&, key = key](const auto& other) {
          return other->alive && other->was_ready && Stored(*other->cache, key) != Version{};
        });
    if (Mortal(base) || !known || MayDrop(key, base)) continue;
    Fail(NameOf(process) + " is ready without " + base.version.ToString());
    return;
  }
}

// What every pod had accepted some time ago that a joiner has to have checked with: those that are
// Ready by its records, and those in reach, once it has heard that they are synced.
void Witness::CheckHeard(Process& process) {
  Record& record = Of(process);
  for (const int pod : world_.Serving()) {
    const Process& other = world_.process(pod);
    const std::string id = world_.IdOf(other);
    if (&other == &process || other.draining || !record.told.contains(id)) continue;
    const std::optional<SteadyMs> synced_at = Of(other).synced_at;
    if (!synced_at || world_.now() - *synced_at < kTelling) continue;
    if (!InContact(process, other, kInReach) && !record.told_ready.contains(id)) continue;
    // Over a slow way what was written during the join may still be coming.
    if (world_.network().SlowWithin(process.address, other.address, kSlowlyMs)) continue;
    if (!CheckHolds(process, other)) return;
  }
}

// What the other accepted some time ago. False, and a failure, when something is missing.
bool Witness::CheckHolds(const Process& process, const Process& other) {
  // The oldest that is missing: the order of a hash map is not that of the next run.
  std::optional<std::pair<SteadyMs, std::uint64_t>> missing;
  for (const auto& [key, seen] : Of(other).seen) {
    if (world_.now() - seen.at < kHeardMs || seen.version == Version{} || Mortal(seen)) continue;
    if (Stored(*process.cache, key) >= seen.version || MayDrop(key, seen)) continue;
    if (!missing || std::pair(seen.at, key) < *missing) missing = {seen.at, key};
  }
  if (!missing) return true;
  const auto [at, key] = *missing;
  Fail(NameOf(process) + " is ready without " +
       Text(keys_[key].second, Of(other).seen[key].version) + ", which " + NameOf(other) +
       " has held for " + std::to_string((world_.now() - at) / 1000) + " s");
  return false;
}

// Nobody starts without a pod that terminates, unless a peer had the data: not within the first
// seconds, and not while there is a stream to it.
void Witness::CheckSuccessor(Process& process) {
  const SteadyMs age = world_.now() - process.started_at;
  const bool young = age < std::min(sync::kAloneMs, options_.bootstrap_timeout_ms);
  const Record& record = Of(process);
  for (const auto& peer : world_.processes()) {
    const auto heard = record.heard.find(peer->serial);
    const bool lately =
        heard != record.heard.end() && world_.now() - heard->second.last <= kUnnoticed;
    if (lately && Of(*peer).synced_at && record.told.contains(world_.IdOf(*peer))) return;
  }
  for (const auto& other : world_.processes()) {
    // It says that it is synced in the heartbeats that follow.
    const std::optional<SteadyMs> synced_at = Of(*other).synced_at;
    const bool holds = other->alive && !other->paused && synced_at &&
                       world_.now() - *synced_at >= kUnnoticed &&
                       record.told_terminating.contains(world_.IdOf(*other));
    const bool at_hand = world_.network().ConnectedFor(process, *other) >= kUnnoticed;
    if (holds && (young || at_hand) && !CheckHolds(process, *other)) return;
  }
}

// Without records, most of those listed have to be in reach, itself counted. One that is gone is in
// reach until its silence has been noticed.
void Witness::CheckMost(const Process& process) {
  if (!options_.static_peers) return;
  const Record& record = Of(process);
  const std::string own = world_.IdOf(process);
  const std::size_t listed = record.told.size() + (record.told.contains(own) ? 0 : 1);
  std::set<std::string> reached{own};
  for (const auto& peer : world_.processes()) {
    const std::string id = world_.IdOf(*peer);
    if (!record.told.contains(id)) continue;
    const auto heard = record.heard.find(peer->serial);
    const bool lately =
        heard != record.heard.end() && world_.now() - heard->second.last <= kUnnoticed;
    // What it was told just now has not been looked at yet.
    if (lately || world_.network().ConnectedFor(process, *peer) >= 0) reached.insert(id);
  }
  if (2 * reached.size() > listed) return;
  Fail(NameOf(process) + " is ready, having reached " + std::to_string(reached.size()) + " of " +
       std::to_string(listed) + " listed");
}

}  // namespace podmirror::sim
