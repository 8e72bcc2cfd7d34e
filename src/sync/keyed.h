// What is stored in one bucket, in the order of key hashes: what passes and copies go through.
// Thread safety: pure functions.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include "cache/cache.h"

namespace podmirror::sync {

struct Keyed {
  std::uint64_t key_hash;
  EntryRef entry;
};
// All that is stored in one bucket, by rising key hash and version.
std::vector<Keyed> KeyedBucket(const Cache& cache, std::uint32_t bucket);

// Those of `items` (Keyed or Listed, by rising key hash) whose key hash is in first..last.
template <typename T>
std::span<const T> Within(const std::vector<T>& items, std::uint64_t first, std::uint64_t last) {
  const auto begin = std::lower_bound(
      items.begin(), items.end(), first,
      [](const T& item, std::uint64_t key_hash) { return item.key_hash < key_hash; });
  const auto end = std::upper_bound(
      begin, items.end(), last,
      [](std::uint64_t key_hash, const T& item) { return key_hash < item.key_hash; });
  return {begin, end};
}

}  // namespace podmirror::sync
