// What the cache's tests share: its contents as a plain map, and a check of all its invariants from
// the outside.
#pragma once

#include <array>
#include <catch2/catch.hpp>
#include <cstdint>
#include <map>
#include <string>
#include <utility>

#include "cache/cache.h"

namespace podmirror {

using Key = std::pair<std::int32_t, std::string>;

inline Key KeyOf(const Entry& entry) { return {entry.type(), std::string(entry.key())}; }

// Everything stored, in its packed form.
inline std::map<Key, std::string> Contents(const Cache& cache) {
  std::map<Key, std::string> contents;
  for (std::uint32_t bucket = 0; bucket < kBuckets; ++bucket) {
    for (const EntryRef& entry : cache.Bucket(bucket)) {
      contents.emplace(KeyOf(*entry), entry->Packed());
    }
  }
  return contents;
}

// Raises the floor, and forgets all that it lets go. Returns how many tombstones that were.
inline std::uint64_t PurgeTo(Cache& cache, std::uint64_t floor) {
  cache.RaiseFloor(floor);
  return cache.Purge();
}

// Requires: nobody changes the cache meanwhile. Counts what is stored and compares it with every
// digest and counter of the cache.
inline void CheckInvariants(const Cache& cache) {
  CacheStats stats;
  std::map<std::int32_t, TypeStats> types;
  std::uint64_t digest = 0;
  std::uint64_t wrong = 0;  // one assertion for 65,536 buckets: Catch is slow
  std::uint32_t next_stored = cache.NextStored(0);
  for (std::uint32_t group = 0; group < kGroups; ++group) {
    const auto sums = cache.group_bucket_sums(group);
    std::uint64_t group_sum = 0;
    for (std::uint32_t i = 0; i < kBucketsPerGroup; ++i) {
      const std::uint32_t bucket = group * kBucketsPerGroup + i;
      std::uint64_t sum = 0;
      const std::vector<EntryRef> entries = cache.Bucket(bucket);
      if (!entries.empty()) {
        wrong += bucket != next_stored;
        next_stored = cache.NextStored(bucket + 1);
      }
      for (const EntryRef& entry : entries) {
        wrong += BucketOf(entry->key_hash()) != bucket;
        wrong += entry->tombstone() && entry->version().hlc <= cache.purge_floor();
        wrong += cache.Peek(entry->type(), entry->key()).get() != entry.get();
        sum += EntryHash(entry->key_hash(), entry->version());
        stats.memory += entry->memory_bytes();
        if (entry->tombstone()) {
          ++stats.tombstones;
          continue;
        }
        const std::uint64_t bytes = entry->key().size() + entry->value().size();
        ++stats.entries;
        stats.bytes += bytes;
        ++types[entry->type()].entries;
        types[entry->type()].bytes += bytes;
      }
      wrong += sum != sums[i] || sum != cache.bucket_sum(bucket);
      group_sum += sum;
    }
    wrong += group_sum != cache.group_sums()[group];
    digest += group_sum;
  }
  wrong += next_stored != kBuckets;
  CHECK(wrong == 0);
  CHECK(cache.digest() == digest);
  const CacheStats told = cache.Stats();
  CHECK(told.entries == stats.entries);
  CHECK(told.tombstones == stats.tombstones);
  CHECK(told.bytes == stats.bytes);
  CHECK(told.memory >= stats.memory);  // slots come on top
  CHECK(told.memory == cache.memory_bytes());
  const auto told_types = cache.Types();
  REQUIRE(told_types.size() == types.size());
  for (const auto& [type, expected] : types) {
    CHECK(told_types.at(type).entries == expected.entries);
    CHECK(told_types.at(type).bytes == expected.bytes);
  }
}

}  // namespace podmirror
