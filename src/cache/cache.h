// Cache holds every entry and tombstone of this pod and the digest of them.
// It is a table of the protocol's 65,536 buckets; a shard is one lock over a group of 256 buckets.
// Thread safety: all calls from any thread, but Purge from one thread at a time. A lock is held for
// the work on one bucket at most; Stats, Types, NextStored, the sums of groups, Sweep and Purge
// hold it for the work on one shard.
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

#include "absl/container/inlined_vector.h"
#include "base/env.h"
#include "cache/change_log.h"
#include "cache/digest.h"
#include "cache/entry.h"

namespace podmirror {

// What a merge did with an entry. It depends only on the two entries (the greater version wins) and
// on the floors.
enum class MergeResult {
  kAdded,     // no entry for this key was here
  kReplaced,  // newer than what was here
  kSame,      // this very version is here
  kOlder,     // a newer version is here
  kPurged,    // a tombstone at or below the purge floor: it is not stored, but an older entry was
              // removed for it; or an entry that is dead: see MergeAll
};
constexpr bool Changed(MergeResult result) {
  return result == MergeResult::kAdded || result == MergeResult::kReplaced;
}

// What has to be stored for a key when an entry is merged on a condition.
struct Condition {
  // This very version, live. None: nothing that is live, so no entry, a tombstone or an expired
  // one.
  std::optional<Version> version;

  // `stored`: what is stored for the key; null when nothing is.
  bool Holds(const Entry* stored, WallMs now) const {
    const bool live = stored != nullptr && !stored->tombstone() && !stored->expired(now);
    return version ? live && stored->version() == *version : !live;
  }
};

struct ConditionalMerge {
  bool merged = false;
  EntryRef was;  // what was stored, tombstones and expired entries included; null: nothing
};

struct TypeStats {
  std::uint64_t entries = 0;
  std::uint64_t bytes = 0;  // keys and values
};

// About as many as the memory accesses that a processor can have under way at a time.
inline constexpr std::size_t kMergedAtOnce = 16;
using KeyHashes = absl::InlinedVector<std::uint64_t, kMergedAtOnce>;

struct CacheStats {
  std::uint64_t entries = 0;  // without tombstones; expired ones count until swept
  std::uint64_t tombstones = 0;
  std::uint64_t bytes = 0;   // keys and values of the entries
  std::uint64_t memory = 0;  // bytes of memory of entries, tombstones and their slots
};

class Group;

class Cache {
 public:
  // changes: is told all that the cache takes; it may be null, and must outlive the cache.
  explicit Cache(ChangeLog* changes = nullptr);
  ~Cache();
  Cache(const Cache&) = delete;
  Cache& operator=(const Cache&) = delete;

  // Takes `incoming` if it is newer than what is stored for its key. An entry that has expired at
  // `now` is merged as the tombstone of the same version. Requires: the clocks of all pods have
  // passed `now`.
  MergeResult Merge(EntryRef incoming, WallMs now);
  // Merges all `entries`, in order. This is cheaper than merging one by one: while one entry is
  // merged, the memory that the next ones need is on its way into the processor's cache.
  // With a `dead_floor`: an entry is dead when nothing is stored for its key and its hlc is at or
  // below `dead_floor` or the purge floor. It was deleted, and its tombstone was forgotten
  // (sync/retention.h), so it is not taken. Returns the places in `entries` of the dead ones that
  // are neither tombstones nor expired; empty without a `dead_floor`.
  std::vector<std::uint32_t> MergeAll(std::span<const EntryRef> entries, WallMs now,
                                      std::optional<std::uint64_t> dead_floor = std::nullopt);

  // Merges `incoming` if `condition` holds, in one step: nothing comes between. Unlike the others
  // it goes by `now` as reads do, and merges what has expired as it is, for the next sweep. Nothing
  // is merged either when what is stored is not older than `incoming`.
  ConditionalMerge MergeIf(EntryRef incoming, const Condition& condition, WallMs now);

  // MergeAll of one entry, with what was stored when it was merged.
  struct Told {
    MergeResult result = MergeResult::kSame;
    EntryRef was{};  // as in ConditionalMerge
  };
  Told MergeAndTell(EntryRef incoming, WallMs now, std::optional<std::uint64_t> dead_floor);

  // For who merges `entries` under a lock of its own and is not to wait for memory there: brings
  // what MergeWarm needs into the processor's cache. Returns their key hashes.
  KeyHashes Warm(std::span<const EntryRef> entries) const;
  // MergeAll of what is warm. Requires: key_hashes are those of `entries`.
  void MergeWarm(std::span<const EntryRef> entries, std::span<const std::uint64_t> key_hashes,
                 WallMs now);

  // The live entry, or null when there is none, it is a tombstone or has expired at `now`.
  EntryRef Find(std::int32_t type, std::string_view key, WallMs now) const;

  // What is stored, tombstones and expired entries included; null when nothing is.
  EntryRef Peek(std::int32_t type, std::string_view key) const;

  // All that is stored in one bucket, tombstones included, in unspecified order.
  std::vector<EntryRef> Bucket(std::uint32_t bucket) const;
  // The same, as it is after the change numbered `as_of` and before any other of this bucket.
  // Requires: there is a change log.
  std::vector<EntryRef> Bucket(std::uint32_t bucket, std::uint64_t& as_of) const;

  // The first bucket from `bucket` on in which something is stored; kBuckets when there is none.
  // For scans: most buckets of a small cache are empty.
  std::uint32_t NextStored(std::uint32_t bucket) const;

  // Digests. Sums taken at different moments need not fit together while writes go on.
  std::uint64_t bucket_sum(std::uint32_t bucket) const;
  std::array<std::uint64_t, kBucketsPerGroup> group_bucket_sums(std::uint32_t group) const;
  std::array<std::uint64_t, kGroups> group_sums() const;
  std::uint64_t digest() const { return digest_.load(std::memory_order_relaxed); }

  // Turns entries that have expired at `now` into tombstones of the same version, or removes them
  // where such a tombstone would be at or below the purge floor. Looks only at buckets that may
  // hold such an entry. Returns how many entries expired. Requires: the clocks of all pods have
  // passed `now`.
  std::uint64_t Sweep(WallMs now);

  // From now on no tombstone with version.hlc <= floor is taken. A floor below the present one
  // changes nothing. Costs nothing: Purge removes the tombstones that are stored already.
  void RaiseFloor(std::uint64_t floor);
  // Removes stored tombstones at or below the floor, shard by shard until at least `limit` are
  // removed; the next call goes on with the next shard. Returns how many it removed. Costs next to
  // nothing when the floor has not risen since the last shard was done.
  std::uint64_t Purge(std::uint64_t limit = UINT64_MAX);
  // Drops whatever is stored under these key hashes with version.hlc <= floor, live or not. Returns
  // how many of them were neither tombstones nor expired at `now`.
  std::uint64_t Drop(std::span<const std::uint64_t> key_hashes, std::uint64_t floor, WallMs now);
  std::uint64_t purge_floor() const { return purge_floor_.load(std::memory_order_relaxed); }
  // Purge has removed all tombstones at or below the floor.
  bool purged() const { return purged_to_.load() == purge_floor_.load(); }

  CacheStats Stats() const;
  std::uint64_t memory_bytes() const { return memory_.load(std::memory_order_relaxed); }
  // Live and expired-unswept entries of each type that has any.
  std::map<std::int32_t, TypeStats> Types() const;

 private:
  struct Shard;

  Shard& ShardOf(std::uint64_t key_hash) const;
  MergeResult MergeHashed(std::uint64_t key_hash, EntryRef incoming, WallMs now,
                          std::optional<std::uint64_t> dead_floor, EntryRef* was = nullptr);
  // Group::Merge, told to the change log. expired: `incoming` is a tombstone since it has expired.
  MergeResult MergeTold(Group& group, std::uint64_t key_hash, EntryRef& incoming, bool expired,
                        std::optional<std::uint64_t> dead_floor);
  // Runs `change` on the shard's group under the shard's lock, and adds the difference in the
  // group's totals to digest_ and memory_. Returns what `change` returned.
  template <typename Change>
  auto Apply(Shard& shard, Change change);

  void Notify() const {
    if (changes_ != nullptr) changes_->Notify();
  }

  ChangeLog* const changes_;
  std::unique_ptr<Shard[]> shards_;  // kGroups of them; constant after construction
  std::atomic<std::uint64_t> digest_{0};
  std::atomic<std::uint64_t> memory_{0};
  std::atomic<std::uint64_t> purge_floor_{0};
  std::atomic<std::uint64_t> purged_to_{0};
  // Used by Purge only: the floor up to which it purges, and the next shard.
  std::uint64_t purging_to_ = 0;
  std::uint32_t purge_at_ = kGroups;
};

}  // namespace podmirror
