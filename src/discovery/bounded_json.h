// JSON from outside: parsed without exceptions and with bounded nesting.
// Thread safety: pure functions.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

namespace podmirror::discovery {

// Deeper than any record or answer that we read (Kubernetes' managedFields are the deepest, with
// about 12 levels).
inline constexpr int kMaxJsonDepth = 64;

// The value, or a discarded one (is_discarded) when `text` is not JSON or is nested deeper than
// kMaxJsonDepth. While parsing, members named `skip` are dropped from the objects at `skip_depth`
// (1: from the objects that are members of the top level).
nlohmann::json ParseBoundedJson(std::string_view text, std::string_view skip = {},
                                int skip_depth = 1);

// The most values that one element of a long array may have: more than a record of 4 MiB has.
inline constexpr std::size_t kMaxElementValues = 500'000;

// Like ParseBoundedJson, for an object whose member `array` is long: each object in that array is
// handed to `each` when it is complete and then dropped, so that only one of them is in memory. The
// result is also discarded when more than kMaxElementValues values come before one is complete.
nlohmann::json ParseLongArray(std::string_view text, std::string_view array, std::string_view skip,
                              const std::function<void(const nlohmann::json&)>& each);

// A member of `object`; "", 0 or null when it is missing or of another type, or `object` is null.
std::string StringMember(const nlohmann::json* object, const char* name);
std::int64_t IntMember(const nlohmann::json* object, const char* name);
const nlohmann::json* ObjectMember(const nlohmann::json* object, const char* name);

}  // namespace podmirror::discovery
