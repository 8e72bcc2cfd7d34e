// A token (JSON Web Token, RFC 7519) is what a caller shows: claims that an issuer signed. Only the
// compact form of a signed token is taken, and only signatures with public keys.
// Thread safety: pure function.
#pragma once

#include <string>
#include <string_view>

#include "base/env.h"
#include "base/status.h"
#include "trust/claims.h"
#include "trust/key_set.h"

namespace podmirror::trust {

struct TokenRules {
  std::string issuer;    // what "iss" has to be
  std::string audience;  // what "aud" has to be, or to contain
};

// The claims, when one of the keys signed the token and its issuer, audience and times are right:
// "exp" and a non-empty "sub" are required, "nbf" and "iat" are not. Clocks may differ by 30 s: a
// token is taken until 30 s after "exp", and from 30 s before "nbf" and "iat".
//
// Without a "kid" the first 16 keys for its algorithm are tried. kNotFound when no key has the
// token's "kid": the issuer may have a new key, so fetching the keys again may help. Everything
// else is kRefused. The message is one printable line that says which check failed; it holds no
// part of the token but its algorithm, its issuer or one of its times. The OpenSSL error queue is
// empty afterwards.
Result<Claims> VerifyToken(std::string_view token, const KeySet& keys, const TokenRules& rules,
                           WallMs now);

}  // namespace podmirror::trust
