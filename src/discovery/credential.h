// Files of credentials: small, and read when they are needed.
// Thread safety: pure functions.
#pragma once

#include <string>

#include "base/status.h"

namespace podmirror::discovery {

// The whole file, at most 1 MiB. kInvalid naming `setting`.
Result<std::string> ReadCredential(const char* setting, const std::string& file);

// ReadCredential of a file that has to hold PEM certificates. An empty text when `file` is empty.
Result<std::string> ReadCertificates(const char* setting, const std::string& file);

// ReadCredential of a file that has to hold the private key of the first certificate in `cert_pem`,
// which ReadCertificates has read.
Result<std::string> ReadPrivateKey(const char* setting, const std::string& file,
                                   const std::string& cert_pem);

// ReadCredential without the line ends at the end of the file, which are not part of a password or
// a token.
Result<std::string> ReadSecret(const char* setting, const std::string& file);

}  // namespace podmirror::discovery
