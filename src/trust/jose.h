// What key sets (RFC 7517) and tokens (RFC 7515) are written in: base64url and JSON objects. Both
// are read strictly, so that no two readers can take one text for different things.
// Thread safety: pure functions.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "base/status.h"

namespace podmirror::trust {

// The bytes behind `text`; nothing unless it is base64url without padding, blanks or stray bits in
// its last character: each byte string has one text only.
std::optional<std::string> DecodeBase64Url(std::string_view text);

// The object; kInvalid with the reason, which continues "its header ...", unless `text` is one JSON
// object of at most 16 levels, none of whose objects names a member twice.
Result<nlohmann::json> ParseObject(std::string_view text);

// A member of `object`, which has to outlive the result; null when there is none. kInvalid when it
// is not a text.
Result<const std::string*> TextMember(const nlohmann::json& object, const char* name);

}  // namespace podmirror::trust
