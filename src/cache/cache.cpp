#include "cache/cache.h"

#include <algorithm>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "cache/group.h"

namespace podmirror {
// Aligned so that two shards never share a cache line.
struct alignas(64) Cache::Shard {
  mutable absl::Mutex mu;
  Group group ABSL_GUARDED_BY(mu);
  // A copy of the group's next_expiry(), so that a sweep with nothing to do takes no lock. A change
  // that is under way is seen by the next sweep.
  std::atomic<WallMs> next_expiry{0};

  // The second step of prefetching. It reads the entry's address, in memory that the first step,
  // Prefetch, has fetched.
  void PrefetchEntry(std::uint64_t key_hash) const {
    absl::ReaderMutexLock lock(&mu);
    group.PrefetchEntry(key_hash);
  }

  // Only computes addresses and reads nothing, so that it needs no lock.
  void Prefetch(std::uint64_t key_hash) const ABSL_NO_THREAD_SAFETY_ANALYSIS {
    __builtin_prefetch(&mu, 1);
    group.Prefetch(key_hash);
  }
};

Cache::Cache(ChangeLog* changes) : changes_(changes), shards_(std::make_unique<Shard[]>(kGroups)) {}
Cache::~Cache() = default;

Cache::Shard& Cache::ShardOf(std::uint64_t key_hash) const {
  return shards_[GroupOf(BucketOf(key_hash))];
}

template <typename Change>
auto Cache::Apply(Shard& shard, Change change) {
  absl::MutexLock lock(&shard.mu);
  const Group::Totals before = shard.group.totals();
  auto result = change(shard.group);
  const Group::Totals& after = shard.group.totals();
  digest_.fetch_add(after.sum - before.sum, std::memory_order_relaxed);
  memory_.fetch_add(after.stats.memory - before.stats.memory, std::memory_order_relaxed);
  shard.next_expiry.store(shard.group.next_expiry(), std::memory_order_relaxed);
  return result;
}

MergeResult Cache::Merge(EntryRef incoming, WallMs now) {
  const std::uint64_t key_hash = incoming->key_hash();
  const MergeResult result = MergeHashed(key_hash, std::move(incoming), now, std::nullopt);
  Notify();
  return result;
}

std::vector<std::uint32_t> Cache::MergeAll(std::span<const EntryRef> entries, WallMs now,
                                           std::optional<std::uint64_t> dead_floor) {
  std::vector<std::uint32_t> dead;
  const auto merge = [&](std::size_t place, std::uint64_t key_hash) {
    const EntryRef& entry = entries[place];
    const MergeResult result = MergeHashed(key_hash, entry, now, dead_floor);
    if (result == MergeResult::kPurged && !entry->tombstone() && !entry->expired(now)) {
      dead.push_back(static_cast<std::uint32_t>(place));
    }
  };
  if (entries.size() == 1) {  // no other entry to work on while memory is fetched
    merge(0, entries.front()->key_hash());
    Notify();
    return dead;
  }
  for (std::size_t done = 0; done < entries.size(); done += kMergedAtOnce) {
    const auto some = entries.subspan(done, std::min(entries.size() - done, kMergedAtOnce));
    const KeyHashes key_hashes = Warm(some);
    for (std::size_t i = 0; i < some.size(); ++i) merge(done + i, key_hashes[i]);
  }
  Notify();
  return dead;
}

KeyHashes Cache::Warm(std::span<const EntryRef> entries) const {
  KeyHashes key_hashes;
  key_hashes.reserve(entries.size());
  for (const EntryRef& entry : entries) {
    key_hashes.push_back(entry->key_hash());
    ShardOf(key_hashes.back()).Prefetch(key_hashes.back());
  }
  for (const std::uint64_t key_hash : key_hashes) ShardOf(key_hash).PrefetchEntry(key_hash);
  return key_hashes;
}

void Cache::MergeWarm(std::span<const EntryRef> entries, std::span<const std::uint64_t> key_hashes,
                      WallMs now) {
  for (std::size_t i = 0; i < entries.size(); ++i) {
    MergeHashed(key_hashes[i], entries[i], now, std::nullopt);
  }
  Notify();
}

MergeResult Cache::MergeHashed(std::uint64_t key_hash, EntryRef incoming, WallMs now,
                               std::optional<std::uint64_t> dead_floor, EntryRef* was) {
  const bool expired = incoming->expired(now);
  if (expired) {
    incoming = Entry::MakeTombstone(incoming->type(), incoming->key(), incoming->version());
  }
  return Apply(ShardOf(key_hash), [&](Group& group) {
    if (was != nullptr) {
      *was = EntryRef::Share(group.Find(key_hash, incoming->type(), incoming->key()));
    }
    return MergeTold(group, key_hash, incoming, expired, dead_floor);
  });
}

MergeResult Cache::MergeTold(Group& group, std::uint64_t key_hash, EntryRef& incoming, bool expired,
                             std::optional<std::uint64_t> dead_floor) {
  // Read under the shard's lock: once a Purge has passed this shard, no lower floor is read here.
  const std::uint64_t floor = purge_floor();
  const std::uint64_t dead = dead_floor ? std::max(*dead_floor, floor) : 0;
  if (changes_ == nullptr) return group.Merge(key_hash, incoming, floor, dead);
  const EntryRef taken = incoming;
  const MergeResult result = group.Merge(key_hash, incoming, floor, dead);
  // A tombstone that is not stored tells a change, too, when it has removed an entry.
  const bool removed = result == MergeResult::kPurged && incoming.get() != taken.get();
  if (Changed(result) || removed) changes_->Append(taken, expired);
  return result;
}

Cache::Told Cache::MergeAndTell(EntryRef incoming, WallMs now,
                                std::optional<std::uint64_t> dead_floor) {
  const std::uint64_t key_hash = incoming->key_hash();
  Told told;
  told.result = MergeHashed(key_hash, std::move(incoming), now, dead_floor, &told.was);
  Notify();
  return told;
}

ConditionalMerge Cache::MergeIf(EntryRef incoming, const Condition& condition, WallMs now) {
  const std::uint64_t key_hash = incoming->key_hash();
  ConditionalMerge merge = Apply(ShardOf(key_hash), [&](Group& group) {
    const Entry* stored = group.Find(key_hash, incoming->type(), incoming->key());
    ConditionalMerge done{.merged = false, .was = EntryRef::Share(stored)};
    if (!condition.Holds(stored, now)) return done;
    const MergeResult result = MergeTold(group, key_hash, incoming, false, std::nullopt);
    done.merged = Changed(result) || result == MergeResult::kPurged;
    return done;
  });
  if (merge.merged) Notify();
  return merge;
}

EntryRef Cache::Find(std::int32_t type, std::string_view key, WallMs now) const {
  EntryRef entry = Peek(type, key);
  if (entry && (entry->tombstone() || entry->expired(now))) return {};
  return entry;
}

EntryRef Cache::Peek(std::int32_t type, std::string_view key) const {
  const std::uint64_t key_hash = KeyHash(type, key);
  const Shard& shard = ShardOf(key_hash);
  absl::ReaderMutexLock lock(&shard.mu);
  return EntryRef::Share(shard.group.Find(key_hash, type, key));
}

std::vector<EntryRef> Cache::Bucket(std::uint32_t bucket) const {
  const Shard& shard = shards_[GroupOf(bucket)];
  absl::ReaderMutexLock lock(&shard.mu);
  return shard.group.Entries(bucket % kBucketsPerGroup);
}

std::vector<EntryRef> Cache::Bucket(std::uint32_t bucket, std::uint64_t& as_of) const {
  const Shard& shard = shards_[GroupOf(bucket)];
  absl::ReaderMutexLock lock(&shard.mu);
  as_of = changes_->last();
  return shard.group.Entries(bucket % kBucketsPerGroup);
}

std::uint32_t Cache::NextStored(std::uint32_t bucket) const {
  while (bucket < kBuckets) {
    const std::uint32_t begin = GroupOf(bucket) * kBucketsPerGroup;
    const Shard& shard = shards_[GroupOf(bucket)];
    absl::ReaderMutexLock lock(&shard.mu);
    const std::uint32_t next = begin + shard.group.NextStored(bucket - begin);
    if (next < begin + kBucketsPerGroup) return next;
    bucket = next;
  }
  return kBuckets;
}

std::uint64_t Cache::bucket_sum(std::uint32_t bucket) const {
  const Shard& shard = shards_[GroupOf(bucket)];
  absl::ReaderMutexLock lock(&shard.mu);
  return shard.group.bucket_sum(bucket % kBucketsPerGroup);
}

std::array<std::uint64_t, kBucketsPerGroup> Cache::group_bucket_sums(std::uint32_t group) const {
  std::array<std::uint64_t, kBucketsPerGroup> sums;
  const Shard& shard = shards_[group];
  absl::ReaderMutexLock lock(&shard.mu);
  for (std::uint32_t i = 0; i < kBucketsPerGroup; ++i) sums[i] = shard.group.bucket_sum(i);
  return sums;
}

std::array<std::uint64_t, kGroups> Cache::group_sums() const {
  std::array<std::uint64_t, kGroups> sums;
  for (std::uint32_t i = 0; i < kGroups; ++i) {
    absl::ReaderMutexLock lock(&shards_[i].mu);
    sums[i] = shards_[i].group.totals().sum;
  }
  return sums;
}

std::uint64_t Cache::Sweep(WallMs now) {
  std::uint64_t swept = 0;
  for (std::uint32_t i = 0; i < kGroups; ++i) {
    const WallMs next = shards_[i].next_expiry.load(std::memory_order_relaxed);
    if (next == 0 || next > now) continue;
    std::vector<EntryRef> dropped;
    swept += Apply(shards_[i], [&](Group& group) {
      const std::uint64_t count = group.Sweep(now, purge_floor(), dropped);
      if (changes_ == nullptr) return count;
      for (const EntryRef& entry : dropped) {
        changes_->Append(Entry::MakeTombstone(entry->type(), entry->key(), entry->version()), true);
      }
      return count;
    });
  }
  if (swept > 0) Notify();
  return swept;
}

void Cache::RaiseFloor(std::uint64_t floor) {
  std::uint64_t seen = purge_floor();
  while (floor > seen &&
         !purge_floor_.compare_exchange_weak(seen, floor, std::memory_order_relaxed)) {
  }
}

std::uint64_t Cache::Purge(std::uint64_t limit) {
  if (purge_at_ == kGroups) {
    const std::uint64_t floor = purge_floor();
    if (floor == purging_to_) return 0;
    purging_to_ = floor;
    purge_at_ = 0;
  }
  std::uint64_t purged = 0;
  for (; purge_at_ < kGroups && purged < limit; ++purge_at_) {
    std::vector<EntryRef> dropped;
    purged +=
        Apply(shards_[purge_at_], [&](Group& group) { return group.Purge(purging_to_, dropped); });
  }
  if (purge_at_ == kGroups) purged_to_.store(purging_to_);
  return purged;
}

std::uint64_t Cache::Drop(std::span<const std::uint64_t> key_hashes, std::uint64_t floor,
                          WallMs now) {
  std::uint64_t count = 0;
  bool lost = false;
  for (const std::uint64_t key_hash : key_hashes) {
    std::vector<EntryRef> dropped;
    count += Apply(ShardOf(key_hash),
                   [&](Group& group) { return group.Drop(key_hash, floor, now, dropped); });
    lost = lost || !dropped.empty();
  }
  // What is dropped was never deleted, and an older version may come again: no change says that.
  if (lost && changes_ != nullptr) {
    changes_->Break();
    changes_->Notify();
  }
  return count;
}

CacheStats Cache::Stats() const {
  CacheStats all;
  for (std::uint32_t i = 0; i < kGroups; ++i) {
    absl::ReaderMutexLock lock(&shards_[i].mu);
    const CacheStats& stats = shards_[i].group.totals().stats;
    all.entries += stats.entries;
    all.tombstones += stats.tombstones;
    all.bytes += stats.bytes;
    all.memory += stats.memory;
  }
  return all;
}

std::map<std::int32_t, TypeStats> Cache::Types() const {
  std::map<std::int32_t, TypeStats> all;
  for (std::uint32_t i = 0; i < kGroups; ++i) {
    absl::ReaderMutexLock lock(&shards_[i].mu);
    for (const auto& [type, stats] : shards_[i].group.types()) {
      TypeStats& sum = all[type];
      sum.entries += stats.entries;
      sum.bytes += stats.bytes;
    }
  }
  return all;
}

}  // namespace podmirror
