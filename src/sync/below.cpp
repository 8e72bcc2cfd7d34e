#include "sync/below.h"

#include <utility>

#include "base/processor.h"

namespace podmirror::sync {
namespace {

// Buckets looked at before whoever waits for this processor has his turn.
constexpr std::uint32_t kBucketsInOneGo = 64;

}  // namespace

std::optional<std::vector<EntryRef>> FindBelow(const Cache& cache, std::int32_t type,
                                               std::string_view prefix, std::size_t most,
                                               WallMs now, absl::FunctionRef<bool()> cancelled) {
  std::vector<EntryRef> found;
  std::uint32_t visited = 0;
  for (std::uint32_t at = cache.NextStored(0); at < kBuckets; at = cache.NextStored(at + 1)) {
    if (++visited % kBucketsInOneGo == 0) YieldProcessor();
    if (cancelled()) return std::nullopt;
    for (EntryRef& entry : cache.Bucket(at)) {
      if (entry->type() != type || entry->tombstone() || entry->expired(now) ||
          !entry->key().starts_with(prefix)) {
        continue;
      }
      if (found.size() == most) return std::nullopt;
      found.push_back(std::move(entry));
    }
  }
  return found;
}

std::vector<WriteItem> DeletesOf(std::span<const EntryRef> found) {
  std::vector<WriteItem> items;
  items.reserve(found.size());
  for (const EntryRef& entry : found) {
    items.push_back({.type = entry->type(),
                     .key = entry->key(),
                     .value = {},
                     .remove = true,
                     .ttl_ms = 0,
                     .touch = false,
                     .found = entry->version()});
  }
  return items;
}

}  // namespace podmirror::sync
