// Cache holds every entry and tombstone of this pod and the digest of them.
// It is a table of the protocol's 65,536 buckets; a shard is one lock over a group of 256 buckets.
// Thread safety: all calls from any thread; no lock is held across a callback or for longer than a
// bucket (Stats, Sweep, Purge: a shard). Purge: one thread at a time.
// Invariants: (1) at most one entry per (type, key): the greatest version ever merged, unless
//                 purged or dropped as dead.
//             (2) bucket_sum(b) is the sum of EntryHash of the entries in b.
//             (3) no tombstone with version.hlc <= purge_floor() is taken; those that were stored
//                 when the floor rose go with the next calls of Purge.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "base/env.h"
#include "cache/digest.h"
#include "cache/entry.h"

namespace podmirror {

// Why an entry was taken or not; pure and total: the greater version wins.
enum class MergeResult {
  kAdded,     // no entry for this key was here
  kReplaced,  // newer than what was here
  kSame,      // this very version is here
  kOlder,     // a newer version is here
  kPurged,    // a tombstone at or below the purge floor: killed what was older, is not stored;
              // or dead: see MergeAll
};
constexpr bool Changed(MergeResult result) {
  return result == MergeResult::kAdded || result == MergeResult::kReplaced;
}

struct TypeStats {
  std::uint64_t entries = 0;
  std::uint64_t bytes = 0;  // keys and values
};

struct CacheStats {
  std::uint64_t entries = 0;  // without tombstones; expired ones count until swept
  std::uint64_t tombstones = 0;
  std::uint64_t bytes = 0;   // keys and values of the entries
  std::uint64_t memory = 0;  // bytes of memory of entries, tombstones and their slots
};

class Cache {
 public:
  Cache();
  ~Cache();
  Cache(const Cache&) = delete;
  Cache& operator=(const Cache&) = delete;

  // Takes `incoming` if it is newer than what is here. Already expired at `now`, a moment that all
  // clocks have passed: merged as the tombstone of the same version.
  MergeResult Merge(EntryRef incoming, WallMs now);
  // Merges all of them, in order. Cheaper than one by one: what the next ones will touch is on its
  // way into the processor's cache meanwhile. With a `dead_floor`: what is not above that in hlc,
  // nor above the purge floor, and has no older version here is dead, its tombstone long forgotten:
  // it is not taken. Returns the places in `entries` of those not taken for that reason that would
  // have been alive; empty without a `dead_floor`.
  std::vector<std::uint32_t> MergeAll(std::span<const EntryRef> entries, WallMs now,
                                      std::optional<std::uint64_t> dead_floor = std::nullopt);

  // The live entry, or null when there is none, it is a tombstone or has expired at `now`.
  EntryRef Find(std::int32_t type, std::string_view key, WallMs now) const;

  // What is stored, tombstones and expired entries included; null when nothing is.
  EntryRef Peek(std::int32_t type, std::string_view key) const;

  // All that is stored in one bucket, tombstones included, in unspecified order.
  std::vector<EntryRef> Bucket(std::uint32_t bucket) const;

  // The first bucket from this one on in which something is stored; kBuckets when there is none.
  // For scans: most buckets of a small cache are empty.
  std::uint32_t NextStored(std::uint32_t bucket) const;

  // Digests. Sums taken at different moments need not fit together while writes go on.
  std::uint64_t bucket_sum(std::uint32_t bucket) const;
  std::array<std::uint64_t, kBucketsPerGroup> group_bucket_sums(std::uint32_t group) const;
  std::array<std::uint64_t, kGroups> group_sums() const;
  std::uint64_t digest() const { return digest_.load(std::memory_order_relaxed); }

  // Turns entries that have expired at `now`, a moment that all clocks have passed, in place into
  // tombstones of the same version; looks only at buckets that hold a due entry. Returns how many.
  std::uint64_t Sweep(WallMs now);

  // Takes no tombstone with version.hlc <= floor from now on. Never goes back: a lower floor does
  // nothing. Costs nothing; Purge then removes those that are stored.
  void RaiseFloor(std::uint64_t floor);
  // Forgets stored tombstones at or below the floor, shard by shard until at least `limit` are
  // gone; the next call goes on there. Returns how many it dropped. Costs next to nothing when the
  // floor has not risen since the last one was dropped.
  std::uint64_t Purge(std::uint64_t limit = UINT64_MAX);
  // Drops whatever is stored under these key hashes with version.hlc <= floor, live or not. Returns
  // how many of them were neither tombstones nor expired at `now`.
  std::uint64_t Drop(std::span<const std::uint64_t> key_hashes, std::uint64_t floor, WallMs now);
  std::uint64_t purge_floor() const { return purge_floor_.load(std::memory_order_relaxed); }

  CacheStats Stats() const;
  std::uint64_t memory_bytes() const { return memory_.load(std::memory_order_relaxed); }
  // Live and expired-unswept entries of each type that has any.
  std::map<std::int32_t, TypeStats> Types() const;

 private:
  struct Shard;

  Shard& ShardOf(std::uint64_t key_hash) const;
  MergeResult MergeHashed(std::uint64_t key_hash, EntryRef incoming, WallMs now,
                          std::optional<std::uint64_t> dead_floor);
  // Runs `change` on the shard's group under its lock and carries what it changed into digest_ and
  // memory_. Gives back what `change` returned.
  template <typename Change>
  auto Apply(Shard& shard, Change change);

  std::unique_ptr<Shard[]> shards_;  // kGroups of them; constant after construction
  std::atomic<std::uint64_t> digest_{0};
  std::atomic<std::uint64_t> memory_{0};
  std::atomic<std::uint64_t> purge_floor_{0};
  // Of Purge, whoever calls it: up to which floor it purges, and the next shard.
  std::uint64_t purging_to_ = 0;
  std::uint32_t purge_at_ = kGroups;
};

}  // namespace podmirror
