// What a request's target says: path, key, type and query, each read strictly and once.
// Thread safety: pure functions.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "rest/problem.h"
#include "sync/limits.h"
#include "sync/types.h"

namespace podmirror::rest {

inline constexpr std::uint32_t kMaxListLimit = 10'000;

struct Target {
  std::string_view path;
  std::string_view query;  // without '?'
};
Target SplitTarget(std::string_view target);

// Replaces each %XX once, nothing else ('+' stays). False when a '%' is not followed by two hex
// digits; `out` is then unspecified.
bool PercentDecode(std::string_view in, std::string& out);

// A canonical decimal int32: no '+', no leading zeros, no "-0".
std::optional<std::int32_t> ParseType(std::string_view text);

// "500ms", "30s", "5m", "1h" in milliseconds; none when it is anything else or overflows.
std::optional<std::int64_t> ParseDurationMs(std::string_view text);

struct WriteQuery {
  std::int64_t ttl_ms = 0;  // 0 = none given
  sync::WriteOptions options;
  bool ack_given = false;
};
// Reads ttl, ack and timeout into `out`, which holds their defaults. On a refusal `out` is
// unspecified.
std::optional<Refusal> ParseWriteQuery(std::string_view query, WriteQuery& out);

struct DeleteQuery {
  std::string prefix;
  sync::WriteOptions options;
};
// Reads prefix, which must be there, ack and timeout into `out`, which holds the defaults of these
// two. On a refusal `out` is unspecified.
std::optional<Refusal> ParseDeleteQuery(std::string_view query, DeleteQuery& out);

// A place in a listing: all of the buckets before `bucket`, and of that bucket the entries whose
// key hash is at most `after_key_hash` (where there is one), have been listed.
struct ListCursor {
  std::uint32_t bucket = 0;
  std::optional<std::uint64_t> after_key_hash;

  friend bool operator==(const ListCursor&, const ListCursor&) = default;
};
std::string ToString(const ListCursor& cursor);

struct ListQuery {
  std::string prefix;
  std::uint32_t limit = 1000;
  ListCursor cursor;
  bool keys_only = false;
};
// Reads prefix, limit, cursor and keys_only. On a refusal `out` is unspecified.
std::optional<Refusal> ParseListQuery(std::string_view query, ListQuery& out);

inline constexpr std::int64_t kMaxWaitMs = 60'000;
// Reads wait, 0 where there is none: how long a read of one entry may wait for another version.
std::optional<Refusal> ParseReadQuery(std::string_view query, std::int64_t& wait_ms);

struct WatchQuery {
  std::vector<std::int32_t> types;  // none = every type
  std::string prefix;
  bool initial = false;
  std::optional<std::string> since;
};
// Reads type (many times), prefix, initial and since. On a refusal `out` is unspecified.
std::optional<Refusal> ParseWatchQuery(std::string_view query, WatchQuery& out);

// For routes that take no parameters.
std::optional<Refusal> RefuseQuery(std::string_view query);

// Reads a time to live: a duration above 0 and up to sync::kMaxTtlMs.
std::optional<Refusal> ParseTtl(std::string_view text, std::int64_t& ttl_ms);

}  // namespace podmirror::rest
