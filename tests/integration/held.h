// What a cache holds, for tests of who may change what. Thread safety: as the cache.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "cache/cache.h"

namespace podmirror {

// All but what has this type and prefix: version and value by type and key.
inline std::map<std::string, std::string> HeldBeside(const Cache& cache, std::int32_t type,
                                                     std::string_view prefix) {
  std::map<std::string, std::string> held;
  for (std::uint32_t bucket = 0; bucket < kBuckets; bucket = cache.NextStored(bucket + 1)) {
    for (const EntryRef& entry : cache.Bucket(bucket)) {
      if (entry->type() == type && entry->key().starts_with(prefix)) continue;
      held[std::to_string(entry->type()) + "/" + std::string(entry->key())] =
          entry->version().ToString() + std::string(entry->value());
    }
  }
  return held;
}

}  // namespace podmirror
