// PEM texts for TLS, checked before they are used: the libraries that use them say too little of
// what is wrong.
// Thread safety: pure functions.
#pragma once

#include <string>

#include "base/status.h"

namespace podmirror::net {

// kInvalid with the reason unless the text holds certificates only, at least one.
Status CheckCertificates(const std::string& pem);

// kInvalid with the reason unless `key_pem` holds the private key, not encrypted, of the first
// certificate of `cert_pem`. Requires: CheckCertificates(cert_pem) is OK.
Status CheckPrivateKey(const std::string& cert_pem, const std::string& key_pem);

}  // namespace podmirror::net
