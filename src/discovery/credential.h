// Files of credentials: small, and read when they are needed.
// Thread safety: pure functions.
#pragma once

#include <string>

#include "base/status.h"

namespace podmirror::discovery {

// The whole file, at most 1 MiB. kInvalid naming `setting`.
Result<std::string> ReadCredential(const char* setting, const std::string& file);

// The same of PEM that has to be certificates. Empty when `file` is.
Result<std::string> ReadCertificates(const char* setting, const std::string& file);

// ReadCredential without line ends at the close, which are not part of a password or a token.
Result<std::string> ReadSecret(const char* setting, const std::string& file);

}  // namespace podmirror::discovery
