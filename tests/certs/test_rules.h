// Rules made for a test: roles, and who has them by a token.
#pragma once

#include <openssl/sha.h>

#include <array>
#include <catch2/catch.hpp>
#include <memory>
#include <string>

#include "base/env.h"
#include "certs/test_certs.h"
#include "trust/guard.h"

namespace podmirror::testing {

inline std::string HexSha256(const std::string& text) {
  std::array<unsigned char, SHA256_DIGEST_LENGTH> digest{};
  SHA256(reinterpret_cast<const unsigned char*>(text.data()), text.size(), digest.data());
  std::string hex;
  for (const unsigned char byte : digest) {
    constexpr char kDigits[] = "0123456789abcdef";
    hex += kDigits[byte >> 4];
    hex += kDigits[byte & 15];
  }
  return hex;
}

// A role, and a subject that has it and is known by the token `name`.
// allow: "\"read\", \"write\""; more: further lines of the role.
inline std::string RoleFor(const std::string& name, const std::string& allow,
                           const std::string& more = "") {
  return "[[role]]\nname = \"" + name + "\"\nallow = [" + allow + "]\n" + more +
         "\n[[subject]]\ntoken-sha256 = \"" + HexSha256(name) + "\"\nname = \"" + name +
         "\"\nroles = [\"" + name + "\"]\n";
}

// One for each verb, of the verb's name.
inline std::string RoleForEachVerb() {
  std::string rules;
  for (const trust::Verb verb : trust::kVerbs) {
    const std::string name(trust::ToString(verb));
    rules += RoleFor(name, "\"" + name + "\"");
  }
  return rules;
}

// keyring: null where no certificates are taken.
inline std::unique_ptr<trust::Guard> GuardBy(const TestDir& dir, const std::string& rules,
                                             const trust::Keyring* keyring = nullptr) {
  auto guard = trust::Guard::New(dir.Write("auth.toml", rules), {}, keyring, nullptr, Env::Real());
  INFO(guard.status().ToString());
  REQUIRE(guard.ok());
  return std::move(*guard);
}

}  // namespace podmirror::testing
