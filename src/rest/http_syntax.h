// The small words of HTTP's grammar (RFC 9110), for those who read fields.
// Thread safety: pure functions.
#pragma once

#include <string_view>

namespace podmirror::rest {

// True for a token, as methods and names of fields are.
bool IsToken(std::string_view text);

// True when `text` is made of printable ASCII, bytes above ASCII and, if `blanks`, spaces and tabs.
bool IsText(std::string_view text, bool blanks);

// True for "name", "name:port", "[v6]:port", as in Host and in a target that names its server.
bool IsAuthority(std::string_view text);

// Splits "name: value"; false when it is not a field line.
bool SplitField(std::string_view line, std::string_view& name, std::string_view& value);

// Without blanks around it.
std::string_view Trim(std::string_view text);

// Cuts the first element off a list, and returns it trimmed. A separator in quotes does not count.
std::string_view TakeElement(std::string_view& list, char separator);

// True when the comma list holds `token`, in any case.
bool HoldsToken(std::string_view list, std::string_view token);

}  // namespace podmirror::rest
