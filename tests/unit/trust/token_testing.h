// Tokens as they should be, and what VerifyToken says of others.
// Thread safety: none.
#pragma once

#include <openssl/err.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <initializer_list>
#include <memory>
#include <string>

#include "trust/jwt.h"
#include "unit/trust/signing.h"

namespace podmirror::trust::testing {

inline constexpr WallMs kNow = 1'796'000'000'000;  // 2026-11-30T00:53:20Z
inline const TokenRules kRules{.issuer = "https://issuer", .audience = "podmirror"};
inline const std::string kPayload =
    R"({"iss":"https://issuer","aud":"podmirror","sub":"app","exp":1796000300,"groups":["a","b"]})";

inline std::shared_ptr<const KeySet> Keys(std::initializer_list<std::string> keys) {
  auto parsed = KeySet::Parse(Document(keys));
  REQUIRE(parsed.ok());
  return *parsed;
}

inline const KeySet& AllKeys() {
  static const std::shared_ptr<const KeySet> kKeys =
      Keys({R"("kid":"r",)" + RsaMembers(Rsa()), R"("kid":"p",)" + EcMembers(P256()),
            R"("kid":"q",)" + EcMembers(P384())});
  return *kKeys;
}

inline Result<Claims> Verify(const std::string& token, const KeySet& keys = AllKeys(),
                             const TokenRules& rules = kRules, WallMs now = kNow) {
  Result<Claims> claims = VerifyToken(token, keys, rules, now);
  CHECK(ERR_peek_error() == 0);
  if (claims.ok()) return claims;
  const std::string& why = claims.status().message();
  CHECK(why.size() < 256);
  CHECK(std::all_of(why.begin(), why.end(), [](char c) { return c >= ' ' && c <= '~'; }));
  return claims;
}

// Why the token is refused; "" when it is not.
inline std::string Wrong(const std::string& token, const KeySet& keys = AllKeys(),
                         WallMs now = kNow) {
  const Result<Claims> claims = Verify(token, keys, kRules, now);
  if (claims.ok()) return "";
  CHECK(claims.status().code() == Code::kRefused);
  return claims.status().message();
}

inline const SigningKey& KeyFor(const std::string& alg) {
  return alg == "ES256" ? P256() : alg == "ES384" ? P384() : Rsa();
}

inline std::string TokenBy(const std::string& alg, const std::string& payload = kPayload) {
  return Sign(KeyFor(alg), alg, R"({"alg":")" + alg + "\"}", payload);
}

inline std::string WithHeader(const std::string& header) {
  return Sign(Rsa(), "RS256", header, kPayload);
}

// Good claims, and after them the members given.
inline std::string WithClaims(const std::string& members) {
  return TokenBy("RS256",
                 R"({"iss":"https://issuer","aud":"podmirror","sub":"app",)" + members + "}");
}

}  // namespace podmirror::trust::testing
