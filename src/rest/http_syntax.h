// The small words of HTTP's grammar (RFC 9110), for those who read fields.
// Thread safety: pure functions.
#pragma once

#include <string_view>

namespace podmirror::rest {

// What methods and names of fields are made of.
bool IsToken(std::string_view text);

// Printable ASCII, anything above it, and, where asked for, blanks.
bool IsText(std::string_view text, bool blanks);

// "name", "name:port", "[v6]:port": what Host says, and a target that names its server.
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
