// Text of others made fit for messages. Thread safety: pure function.
#pragma once

#include <string>
#include <string_view>

namespace podmirror::trust {

// `text` in printable ASCII, the rest escaped, at most 100 bytes: text of a token or a certificate
// may be anything, and goes into messages, logs and JSON.
std::string Shown(std::string_view text);

}  // namespace podmirror::trust
