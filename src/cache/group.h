// Group is 256 buckets in a row with all that is counted about them: the cache without its locks.
// Thread safety: none; each belongs to one shard of the cache, under the shard's lock. Entries that
// it removes are handed to the caller, who drops the references to them after unlocking.
// Invariants: (1) at most one entry per (type, key).
//             (2) every counter and sum is exactly that of the entries held.
//             (3) no expiring entry expires before its bucket's `next_expiry`, and no bucket before
//                 the group's; 0 means that nothing expires. They may be too early, never too late.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "base/env.h"
#include "cache/cache.h"
#include "cache/digest.h"
#include "cache/entry.h"
#include "cache/slots.h"

namespace podmirror {

class Group {
 public:
  // Of the whole group.
  struct Totals {
    std::uint64_t sum = 0;  // of EntryHash
    CacheStats stats;
  };

  // Merges `incoming` by the rules of Cache::MergeAll, but does not look at its expiry. Afterwards
  // `incoming` holds the reference that the caller has to drop: to the entry that was replaced or
  // removed, or to the incoming entry if it was not taken; null when it was added.
  MergeResult Merge(std::uint64_t key_hash, EntryRef& incoming, std::uint64_t purge_floor,
                    std::uint64_t dead_floor);

  // Null when nothing is stored for the key.
  const Entry* Find(std::uint64_t key_hash, std::int32_t type, std::string_view key) const;

  // Brings the memory that a merge of this key looks at first into the processor's cache. Any
  // thread, without a lock: it reads nothing.
  void Prefetch(std::uint64_t key_hash) const;

  // The same for the entry that is stored for this key. It reads the slots, so it needs the lock.
  void PrefetchEntry(std::uint64_t key_hash) const;

  // `bucket` counts from the first of the group.
  std::vector<EntryRef> Entries(std::uint32_t bucket) const;
  // The first bucket from `bucket` on that is not empty; kBucketsPerGroup when there is none.
  std::uint32_t NextStored(std::uint32_t bucket) const;
  std::uint64_t bucket_sum(std::uint32_t bucket) const { return buckets_[bucket].sum; }

  // As in Cache; what is replaced or removed is appended to `dropped`.
  std::uint64_t Sweep(WallMs now, std::uint64_t purge_floor, std::vector<EntryRef>& dropped);
  std::uint64_t Purge(std::uint64_t floor, std::vector<EntryRef>& dropped);
  std::uint64_t Drop(std::uint64_t key_hash, std::uint64_t floor, WallMs now,
                     std::vector<EntryRef>& dropped);

  const Totals& totals() const { return totals_; }
  WallMs next_expiry() const { return next_expiry_; }  // 0 = no entry here expires
  const absl::flat_hash_map<std::int32_t, TypeStats>& types() const { return types_; }

 private:
  struct Bucket {
    std::uint64_t sum = 0;
    WallMs next_expiry = 0;
    std::uint32_t tombstones = 0;
  };

  void Add(std::uint32_t bucket, std::uint64_t key_hash, EntryRef entry);
  // Swaps `entry` with the one at `index`.
  void Replace(std::uint32_t bucket, std::uint32_t index, std::uint64_t key_hash, EntryRef& entry);
  EntryRef Remove(std::uint32_t bucket, std::uint32_t index, std::uint64_t key_hash);
  // Adds the entry to the sums and counters, or takes it out of them.
  void Count(Bucket& bucket, std::uint64_t key_hash, const Entry& entry);
  void Discount(Bucket& bucket, std::uint64_t key_hash, const Entry& entry);
  std::uint64_t SweepBucket(std::uint32_t bucket, WallMs now, std::uint64_t purge_floor,
                            std::vector<EntryRef>& dropped);

  Slots slots_;
  std::array<Bucket, kBucketsPerGroup> buckets_;
  Totals totals_;
  WallMs next_expiry_ = 0;
  absl::flat_hash_map<std::int32_t, TypeStats> types_;  // only types that have entries
};

}  // namespace podmirror
