// JSON from outside: parsed without exceptions and with bounded nesting.
// Thread safety: pure functions.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string_view>

namespace podmirror::discovery {

// Deeper than any record or answer of ours (Kubernetes' managedFields are the deepest, about 12).
inline constexpr int kMaxJsonDepth = 64;

// The value, or a discarded one (is_discarded) when `text` is not JSON or is nested deeper than
// kMaxJsonDepth. Members `skip` of the top level's members are dropped while parsing.
nlohmann::json ParseBoundedJson(std::string_view text, std::string_view skip = {});

}  // namespace podmirror::discovery
