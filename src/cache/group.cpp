#include "cache/group.h"

#include <compare>
#include <utility>

namespace podmirror {
namespace {

// About the memory that the counters of one type take in the map. It is counted, too, so that a
// client cannot use many types free of charge.
constexpr std::uint64_t kTypeBytes = 48;

constexpr std::uint32_t IndexOf(std::uint64_t key_hash) {
  return BucketOf(key_hash) % kBucketsPerGroup;
}

// The earlier of two expiries, where 0 is never.
constexpr WallMs Earlier(WallMs a, WallMs b) {
  if (a == 0 || b == 0) return a + b;
  return a < b ? a : b;
}

bool Purged(const Entry& entry, std::uint64_t floor) {
  return entry.tombstone() && entry.version().hlc <= floor;
}

}  // namespace

MergeResult Group::Merge(std::uint64_t key_hash, EntryRef& incoming, std::uint64_t purge_floor,
                         std::uint64_t dead_floor) {
  const std::uint32_t bucket = IndexOf(key_hash);
  const bool purged = Purged(*incoming, purge_floor);
  const std::uint32_t index = slots_.Find(bucket, key_hash, incoming->type(), incoming->key());
  if (index == Slots::kNone) {
    if (purged || incoming->version().hlc <= dead_floor) return MergeResult::kPurged;
    Add(bucket, key_hash, std::move(incoming));
    return MergeResult::kAdded;
  }
  const auto order = incoming->version() <=> slots_.at(bucket, index).version();
  if (std::is_lt(order)) return MergeResult::kOlder;
  // The same version may be live here and arrive as a tombstone from a pod that has swept it
  // already: our own sweep will come, too.
  if (std::is_eq(order)) return MergeResult::kSame;
  if (purged) {
    incoming = Remove(bucket, index, key_hash);
    return MergeResult::kPurged;
  }
  Replace(bucket, index, key_hash, incoming);
  return MergeResult::kReplaced;
}

const Entry* Group::Find(std::uint64_t key_hash, std::int32_t type, std::string_view key) const {
  const std::uint32_t bucket = IndexOf(key_hash);
  const std::uint32_t index = slots_.Find(bucket, key_hash, type, key);
  return index == Slots::kNone ? nullptr : &slots_.at(bucket, index);
}

void Group::Prefetch(std::uint64_t key_hash) const {
  const std::uint32_t bucket = IndexOf(key_hash);
  slots_.Prefetch(bucket);
  __builtin_prefetch(&buckets_[bucket], 1);
  __builtin_prefetch(&totals_, 1);
}

void Group::PrefetchEntry(std::uint64_t key_hash) const {
  slots_.PrefetchEntry(IndexOf(key_hash), key_hash);
}

std::vector<EntryRef> Group::Entries(std::uint32_t bucket) const {
  std::vector<EntryRef> entries;
  entries.reserve(slots_.size(bucket));
  for (std::uint32_t i = 0; i < slots_.size(bucket); ++i) {
    entries.push_back(EntryRef::Share(&slots_.at(bucket, i)));
  }
  return entries;
}

std::uint32_t Group::NextStored(std::uint32_t bucket) const {
  if (totals_.stats.entries + totals_.stats.tombstones == 0) return kBucketsPerGroup;
  while (bucket < kBucketsPerGroup && slots_.size(bucket) == 0) ++bucket;
  return bucket;
}

std::uint64_t Group::Sweep(WallMs now, std::uint64_t purge_floor, std::vector<EntryRef>& dropped) {
  if (next_expiry_ == 0 || next_expiry_ > now) return 0;
  std::uint64_t swept = 0;
  WallMs next = 0;
  for (std::uint32_t i = 0; i < kBucketsPerGroup; ++i) {
    if (buckets_[i].next_expiry != 0 && buckets_[i].next_expiry <= now) {
      swept += SweepBucket(i, now, purge_floor, dropped);
    }
    next = Earlier(next, buckets_[i].next_expiry);
  }
  next_expiry_ = next;
  return swept;
}

std::uint64_t Group::SweepBucket(std::uint32_t bucket, WallMs now, std::uint64_t purge_floor,
                                 std::vector<EntryRef>& dropped) {
  std::uint64_t swept = 0;
  WallMs next = 0;
  for (std::uint32_t i = 0; i < slots_.size(bucket);) {
    const Entry& entry = slots_.at(bucket, i);
    if (!entry.expired(now)) {
      next = Earlier(next, entry.expires_at());
      ++i;
      continue;
    }
    ++swept;
    const std::uint64_t key_hash = entry.key_hash();
    if (entry.version().hlc <= purge_floor) {
      dropped.push_back(Remove(bucket, i, key_hash));
      continue;
    }
    EntryRef tombstone = Entry::MakeTombstone(entry.type(), entry.key(), entry.version());
    Replace(bucket, i, key_hash, tombstone);
    dropped.push_back(std::move(tombstone));
    ++i;
  }
  buckets_[bucket].next_expiry = next;
  return swept;
}

std::uint64_t Group::Purge(std::uint64_t floor, std::vector<EntryRef>& dropped) {
  const std::uint64_t before = totals_.stats.tombstones;
  if (before == 0) return 0;
  for (std::uint32_t bucket = 0; bucket < kBucketsPerGroup; ++bucket) {
    if (buckets_[bucket].tombstones == 0) continue;
    for (std::uint32_t i = 0; i < slots_.size(bucket);) {
      const Entry& entry = slots_.at(bucket, i);
      if (Purged(entry, floor)) {
        dropped.push_back(Remove(bucket, i, entry.key_hash()));
      } else {
        ++i;
      }
    }
  }
  return before - totals_.stats.tombstones;
}

std::uint64_t Group::Drop(std::uint64_t key_hash, std::uint64_t floor, WallMs now,
                          std::vector<EntryRef>& dropped) {
  const std::uint32_t bucket = IndexOf(key_hash);
  std::uint64_t lived = 0;
  for (std::uint32_t i = 0; i < slots_.size(bucket);) {
    const Entry& entry = slots_.at(bucket, i);
    if (entry.key_hash() == key_hash && entry.version().hlc <= floor) {
      lived += entry.tombstone() || entry.expired(now) ? 0 : 1;
      dropped.push_back(Remove(bucket, i, key_hash));
    } else {
      ++i;
    }
  }
  return lived;
}

void Group::Add(std::uint32_t bucket, std::uint64_t key_hash, EntryRef entry) {
  Count(buckets_[bucket], key_hash, *entry);
  const std::size_t before = slots_.memory_bytes();
  slots_.Add(bucket, key_hash, std::move(entry));
  totals_.stats.memory += slots_.memory_bytes() - before;
}

void Group::Replace(std::uint32_t bucket, std::uint32_t index, std::uint64_t key_hash,
                    EntryRef& entry) {
  Count(buckets_[bucket], key_hash, *entry);
  const std::size_t before = slots_.memory_bytes();
  slots_.Replace(bucket, index, entry);
  totals_.stats.memory += slots_.memory_bytes() - before;
  Discount(buckets_[bucket], key_hash, *entry);
}

EntryRef Group::Remove(std::uint32_t bucket, std::uint32_t index, std::uint64_t key_hash) {
  const std::size_t before = slots_.memory_bytes();
  EntryRef removed = slots_.Remove(bucket, index);
  totals_.stats.memory += slots_.memory_bytes() - before;
  Discount(buckets_[bucket], key_hash, *removed);
  return removed;
}

void Group::Count(Bucket& bucket, std::uint64_t key_hash, const Entry& entry) {
  const std::uint64_t hash = EntryHash(key_hash, entry.version());
  bucket.sum += hash;
  totals_.sum += hash;
  totals_.stats.memory += entry.memory_bytes();
  if (entry.tombstone()) {
    ++bucket.tombstones;
    ++totals_.stats.tombstones;
    return;
  }
  const std::uint64_t bytes = entry.content_bytes();
  ++totals_.stats.entries;
  totals_.stats.bytes += bytes;
  const auto [type, added] = types_.try_emplace(entry.type());
  if (added) totals_.stats.memory += kTypeBytes;
  ++type->second.entries;
  type->second.bytes += bytes;
  bucket.next_expiry = Earlier(bucket.next_expiry, entry.expires_at());
  next_expiry_ = Earlier(next_expiry_, entry.expires_at());
}

void Group::Discount(Bucket& bucket, std::uint64_t key_hash, const Entry& entry) {
  const std::uint64_t hash = EntryHash(key_hash, entry.version());
  bucket.sum -= hash;
  totals_.sum -= hash;
  totals_.stats.memory -= entry.memory_bytes();
  if (entry.tombstone()) {
    --bucket.tombstones;
    --totals_.stats.tombstones;
    return;
  }
  const std::uint64_t bytes = entry.content_bytes();
  --totals_.stats.entries;
  totals_.stats.bytes -= bytes;
  const auto type = types_.find(entry.type());
  type->second.bytes -= bytes;
  if (--type->second.entries == 0) {
    types_.erase(type);
    totals_.stats.memory -= kTypeBytes;
  }
}

}  // namespace podmirror
