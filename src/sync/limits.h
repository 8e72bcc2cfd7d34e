// Limits of what clients write and ask, the same over REST and gRPC: a request that keeps them may
// go to Driver::Write. Thread safety: plain values and pure functions.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "cache/entry.h"

namespace podmirror::sync {

// Items of one write, keys of one read: bounds the work of a request that is all tiny keys.
inline constexpr std::size_t kMaxItems = 256 * 1024;
// Bytes of the values that one write may touch: a request of a few keys makes as much work.
inline constexpr std::size_t kMaxTouchedBytes = 64 * 1024 * 1024;
// Entries that one delete by prefix may find.
inline constexpr std::size_t kMaxDeletedBelow = 100'000;
// Longest time to live, 100 years.
inline constexpr std::int64_t kMaxTtlMs = 100LL * 365 * 24 * 3600 * 1000;
// Longest time that a write may wait for acknowledgements.
inline constexpr std::int64_t kMaxAckTimeoutMs = 3600 * 1000;

struct ItemLimits {
  std::size_t max_key_bytes = 512;
  std::size_t max_value_bytes = 1024 * 1024;
};

// What is wrong, in words for who sent it; empty when nothing is.
inline std::string KeyFault(std::string_view key, const ItemLimits& limits) {
  if (IsValidKey(key) && key.size() <= limits.max_key_bytes) return {};
  return "a key is 1 to " + std::to_string(limits.max_key_bytes) + " bytes of UTF-8 without NUL";
}
inline std::string ValueFault(std::string_view value, const ItemLimits& limits) {
  if (value.size() <= limits.max_value_bytes) return {};
  return "the value is over " + std::to_string(limits.max_value_bytes) + " bytes";
}

}  // namespace podmirror::sync
