// Digests tell whether two caches hold the same entries at the same versions.
// A digest is a sum modulo 2^64 of one hash per entry, so it is updated by an add and a subtract,
// in any order. The cache keeps one sum for each of 65,536 buckets; a group is 256 buckets in a
// row. The protocol fixes the hash and these numbers.
// Thread safety: pure functions and plain values.
#pragma once

#include <cstdint>
#include <string>

#include "cache/entry.h"

namespace podmirror {

inline constexpr std::uint32_t kBuckets = 65536;
inline constexpr std::uint32_t kGroups = 256;
inline constexpr std::uint32_t kBucketsPerGroup = kBuckets / kGroups;

constexpr std::uint32_t BucketOf(std::uint64_t key_hash) {
  return static_cast<std::uint32_t>(key_hash >> 48);
}
constexpr std::uint32_t GroupOf(std::uint32_t bucket) { return bucket / kBucketsPerGroup; }

// What one entry adds to its bucket's sum. An expired entry and the tombstone that the sweep makes
// of it have the same version, hence the same hash: digests do not depend on clocks.
std::uint64_t EntryHash(std::uint64_t key_hash, Version version);

}  // namespace podmirror
