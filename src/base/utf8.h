// IsUtf8 tells whether bytes are text. Keys must be text; values may be any bytes.
// Thread safety: pure function.
#pragma once

#include <string_view>

namespace podmirror {

// True for UTF-8 without overlong forms, surrogates and what is above U+10FFFF; NUL is allowed.
bool IsUtf8(std::string_view text);

}  // namespace podmirror
