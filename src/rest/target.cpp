#include "rest/target.h"

#include <algorithm>
#include <charconv>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "cache/digest.h"

namespace podmirror::rest {
namespace {

int HexDigit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

// All of `text` as one number.
template <typename T>
bool ParseNumber(std::string_view text, T& out, int base = 10) {
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, out, base);
  return error == std::errc() && stop == end;
}

Refusal BadQuery(std::string detail) { return {Problem::kInvalidQuery, std::move(detail)}; }

// Calls `take(name, value)` for each parameter, decoded, until one call returns a refusal.
template <typename Take>
std::optional<Refusal> ForEachParameter(std::string_view query, Take take) {
  std::string name;
  std::string value;
  while (!query.empty()) {
    const std::size_t end = std::min(query.find('&'), query.size());
    const std::string_view pair = query.substr(0, end);
    query.remove_prefix(std::min(end + 1, query.size()));
    if (pair.empty()) continue;
    const std::size_t equals = std::min(pair.find('='), pair.size());
    const std::string_view raw_value = pair.substr(std::min(equals + 1, pair.size()));
    if (!PercentDecode(pair.substr(0, equals), name) || !PercentDecode(raw_value, value)) {
      return BadQuery("malformed percent-encoding in the query");
    }
    if (auto refusal = take(std::string_view(name), std::string_view(value))) return refusal;
  }
  return std::nullopt;
}

// Notes that parameter `bit` was seen; a refusal when it was seen before.
std::optional<Refusal> Once(unsigned& seen, unsigned bit, std::string_view name) {
  if ((seen & bit) != 0) return BadQuery(absl::StrCat(std::string(name), " is given twice"));
  seen |= bit;
  return std::nullopt;
}

std::optional<Refusal> ParseFlag(std::string_view name, std::string_view value, bool& out) {
  if (value != "true" && value != "false") {
    return BadQuery(absl::StrCat(std::string(name), " must be true or false"));
  }
  out = value == "true";
  return std::nullopt;
}

Refusal UnknownParameter(std::string_view name) {
  return BadQuery(absl::StrCat("unknown query parameter ", std::string(name)));
}

std::optional<sync::AckLevel> ParseAckLevel(std::string_view text) {
  for (const auto level : {sync::AckLevel::kLocal, sync::AckLevel::kOne, sync::AckLevel::kMajority,
                           sync::AckLevel::kAll}) {
    if (text == sync::ToString(level)) return level;
  }
  return std::nullopt;
}

constexpr unsigned kPrefix = 1;
constexpr unsigned kAck = 2;

// Reads ack and timeout.
std::optional<Refusal> TakeWriteOption(std::string_view name, std::string_view value,
                                       unsigned& seen, sync::WriteOptions& out) {
  if (name == "ack") {
    if (auto twice = Once(seen, kAck, name)) return twice;
    const auto level = ParseAckLevel(value);
    if (!level) return BadQuery("ack must be local, one, majority or all");
    out.ack = *level;
    return std::nullopt;
  }
  if (name == "timeout") {
    if (auto twice = Once(seen, 4, name)) return twice;
    const auto timeout = ParseDurationMs(value);
    if (!timeout || *timeout > sync::kMaxAckTimeoutMs) {
      return BadQuery("timeout must be a number and one of ms, s, m, h, at most 1h: 500ms");
    }
    out.timeout_ms = *timeout;
    return std::nullopt;
  }
  return UnknownParameter(name);
}

std::optional<ListCursor> ParseCursor(std::string_view text) {
  ListCursor cursor;
  const std::size_t dash = text.find('-');
  if (dash != std::string_view::npos) {
    std::uint64_t hash = 0;
    if (!ParseNumber(text.substr(dash + 1), hash, 16)) return std::nullopt;
    cursor.after_key_hash = hash;
    text = text.substr(0, dash);
  }
  if (!ParseNumber(text, cursor.bucket, 16) || cursor.bucket >= kBuckets) return std::nullopt;
  return cursor;
}

}  // namespace

Target SplitTarget(std::string_view target) {
  const std::size_t mark = target.find('?');
  if (mark == std::string_view::npos) return {target, {}};
  return {target.substr(0, mark), target.substr(mark + 1)};
}

bool PercentDecode(std::string_view in, std::string& out) {
  out.clear();
  for (std::size_t i = 0; i < in.size(); ++i) {
    if (in[i] != '%') {
      out.push_back(in[i]);
      continue;
    }
    if (i + 2 >= in.size()) return false;
    const int high = HexDigit(in[i + 1]);
    const int low = HexDigit(in[i + 2]);
    if (high < 0 || low < 0) return false;
    out.push_back(static_cast<char>(high * 16 + low));
    i += 2;
  }
  return true;
}

std::optional<std::int32_t> ParseType(std::string_view text) {
  std::int32_t type = 0;
  if (!ParseNumber(text, type)) return std::nullopt;
  const std::string_view digits = text.front() == '-' ? text.substr(1) : text;
  const bool canonical = digits.front() != '0' || text == "0";
  return canonical ? std::optional(type) : std::nullopt;
}

std::optional<std::int64_t> ParseDurationMs(std::string_view text) {
  constexpr std::pair<std::string_view, std::int64_t> kUnits[] = {
      {"ms", 1}, {"s", 1000}, {"m", 60'000}, {"h", 3'600'000}};
  std::int64_t number = 0;
  const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || text.front() == '-') return std::nullopt;
  const std::string_view unit = text.substr(static_cast<std::size_t>(stop - text.data()));
  for (const auto& [name, ms] : kUnits) {
    if (unit != name) continue;
    if (number > std::numeric_limits<std::int64_t>::max() / ms) return std::nullopt;
    return number * ms;
  }
  return std::nullopt;
}

std::optional<Refusal> ParseTtl(std::string_view text, std::int64_t& ttl_ms) {
  const auto parsed = ParseDurationMs(text);
  if (!parsed || *parsed <= 0 || *parsed > sync::kMaxTtlMs) {
    return Refusal{Problem::kInvalidTtl,
                   "ttl must be a number above 0 and one of ms, s, m, h: 500ms, 30s"};
  }
  ttl_ms = *parsed;
  return std::nullopt;
}

std::optional<Refusal> ParseWriteQuery(std::string_view query, WriteQuery& out) {
  unsigned seen = 0;
  auto refusal = ForEachParameter(
      query, [&](std::string_view name, std::string_view value) -> std::optional<Refusal> {
        if (name == "ttl") {
          if (auto twice = Once(seen, 1, name)) return twice;
          return ParseTtl(value, out.ttl_ms);
        }
        return TakeWriteOption(name, value, seen, out.options);
      });
  out.ack_given = (seen & kAck) != 0;
  return refusal;
}

std::optional<Refusal> ParseDeleteQuery(std::string_view query, DeleteQuery& out) {
  unsigned seen = 0;
  auto refusal = ForEachParameter(
      query, [&](std::string_view name, std::string_view value) -> std::optional<Refusal> {
        if (name == "prefix") {
          if (auto twice = Once(seen, kPrefix, name)) return twice;
          out.prefix = value;
          return std::nullopt;
        }
        return TakeWriteOption(name, value, seen, out.options);
      });
  if (!refusal && (seen & kPrefix) == 0) {
    return BadQuery("prefix is missing: an empty one, prefix=, deletes all entries of the type");
  }
  return refusal;
}

std::string ToString(const ListCursor& cursor) {
  std::string text = absl::StrCat(absl::Hex(cursor.bucket));
  if (cursor.after_key_hash) absl::StrAppend(&text, "-", absl::Hex(*cursor.after_key_hash));
  return text;
}

std::optional<Refusal> ParseListQuery(std::string_view query, ListQuery& out) {
  unsigned seen = 0;
  return ForEachParameter(
      query, [&](std::string_view name, std::string_view value) -> std::optional<Refusal> {
        if (name == "prefix") {
          if (auto twice = Once(seen, 1, name)) return twice;
          out.prefix = value;
          return std::nullopt;
        }
        if (name == "limit") {
          if (auto twice = Once(seen, 2, name)) return twice;
          if (!ParseNumber(value, out.limit) || out.limit == 0 || out.limit > kMaxListLimit) {
            return BadQuery(absl::StrCat("limit must be a number from 1 to ", kMaxListLimit));
          }
          return std::nullopt;
        }
        if (name == "cursor") {
          if (auto twice = Once(seen, 4, name)) return twice;
          if (value.empty()) return std::nullopt;
          const auto cursor = ParseCursor(value);
          if (!cursor) return BadQuery("cursor is not one that a listing gave");
          out.cursor = *cursor;
          return std::nullopt;
        }
        if (name == "keys_only") {
          if (auto twice = Once(seen, 8, name)) return twice;
          return ParseFlag(name, value, out.keys_only);
        }
        return UnknownParameter(name);
      });
}

std::optional<Refusal> ParseReadQuery(std::string_view query, std::int64_t& wait_ms) {
  unsigned seen = 0;
  wait_ms = 0;
  return ForEachParameter(
      query, [&](std::string_view name, std::string_view value) -> std::optional<Refusal> {
        if (name != "wait") return UnknownParameter(name);
        if (auto twice = Once(seen, 1, name)) return twice;
        const auto wait = ParseDurationMs(value);
        if (!wait || *wait > kMaxWaitMs) {
          return BadQuery("wait must be a number and one of ms, s, m, at most 60s: 30s");
        }
        wait_ms = *wait;
        return std::nullopt;
      });
}

std::optional<Refusal> ParseWatchQuery(std::string_view query, WatchQuery& out) {
  unsigned seen = 0;
  auto refusal = ForEachParameter(
      query, [&](std::string_view name, std::string_view value) -> std::optional<Refusal> {
        if (name == "type") {
          const auto type = ParseType(value);
          if (!type) return BadQuery("type must be a canonical 32-bit decimal integer");
          out.types.push_back(*type);
          return std::nullopt;
        }
        if (name == "prefix") {
          if (auto twice = Once(seen, 1, name)) return twice;
          out.prefix = value;
          return std::nullopt;
        }
        if (name == "initial") {
          if (auto twice = Once(seen, 2, name)) return twice;
          return ParseFlag(name, value, out.initial);
        }
        if (name == "since") {
          if (auto twice = Once(seen, 4, name)) return twice;
          out.since = value;
          return std::nullopt;
        }
        return UnknownParameter(name);
      });
  if (refusal) return refusal;
  return std::nullopt;
}

std::optional<Refusal> RefuseQuery(std::string_view query) {
  return ForEachParameter(query, [](std::string_view name, std::string_view) {
    return std::optional(UnknownParameter(name));
  });
}

}  // namespace podmirror::rest
