#include "sync/keyed.h"

#include <utility>

namespace podmirror::sync {

std::vector<Keyed> KeyedBucket(const Cache& cache, std::uint32_t bucket) {
  std::vector<EntryRef> entries = cache.Bucket(bucket);
  std::vector<Keyed> keyed;
  keyed.reserve(entries.size());
  for (EntryRef& entry : entries) {
    const std::uint64_t hash = entry->key_hash();
    keyed.push_back({hash, std::move(entry)});
  }
  std::sort(keyed.begin(), keyed.end(), [](const Keyed& a, const Keyed& b) {
    return a.key_hash != b.key_hash ? a.key_hash < b.key_hash
                                    : a.entry->version() < b.entry->version();
  });
  return keyed;
}

}  // namespace podmirror::sync
