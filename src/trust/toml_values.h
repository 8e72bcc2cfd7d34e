// What a file in TOML holds, for those who refuse what they do not understand: each text checked,
// each refusal one short line of printable ASCII that begins with the line of the file. A refusal
// never has more than the first digits of a hash, wherever in the file somebody put it. Thread
// safety: pure functions.
#pragma once

#include <toml++/toml.h>

#include <cstddef>
#include <string>
#include <string_view>

#include "base/status.h"

namespace podmirror::trust {

inline constexpr std::size_t kMaxTomlBytes = 1u << 20;

// kInvalid for what is no TOML, is larger than 1 MiB or has a key of very many parts.
Result<toml::table> ParseToml(std::string_view text);

// The Status of kInvalid that says what is wrong where.
Status Wrong(const toml::source_region& source, const std::string& what);
// Wrong: "unknown key "x" of a role".
Status UnknownKey(const toml::key& key, const std::string& where);

// A text of the file in quotes, safe for a message.
std::string Quoted(std::string_view text);

// kInvalid for a text that is empty, longer than `longest` bytes or holds control characters. It is
// UTF-8, since the file is.
Status CheckText(const toml::source_region& source, const std::string& what, std::string_view text,
                 std::size_t longest);
// Takes such a text from the file.
Status TakeText(const toml::key& key, const toml::node& node, std::size_t longest,
                std::string& text);

}  // namespace podmirror::trust
