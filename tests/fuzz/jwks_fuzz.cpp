// Whatever an issuer publishes as its keys: it is refused with a reason that a log can show, or all
// of its keys are sound enough to try a signature with.
//
// Input: the document.
#include <openssl/err.h>
#include <openssl/evp.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "fuzz/require.h"
#include "trust/jwt.h"

namespace podmirror::trust {
namespace {

using fuzz::Require;

constexpr std::size_t kMaxReasonBytes = 256;
constexpr std::size_t kMaxKeys = 256;
constexpr std::size_t kMaxKidBytes = 1024;
const TokenRules kRules{.issuer = "https://issuer", .audience = "podmirror"};

// Tokens of the payload {} whose signatures are the number 1, as long as the keys in the corpus
// want them.
std::string Token(std::string_view header, std::size_t signature_characters) {
  return std::string(header) + ".e30." + std::string(signature_characters - 2, 'A') + "AQ";
}

void CheckKey(const VerificationKey& key) {
  const int bits = EVP_PKEY_get_bits(key.key.get());
  switch (key.kind) {
    case KeyKind::kRsa:
      Require(EVP_PKEY_is_a(key.key.get(), "RSA") == 1 && bits >= 2048 && bits <= 8192,
              "an RSA key has a sound size");
      break;
    case KeyKind::kP256:
      Require(EVP_PKEY_is_a(key.key.get(), "EC") == 1 && bits == 256, "P-256 has 256 bits");
      break;
    case KeyKind::kP384:
      Require(EVP_PKEY_is_a(key.key.get(), "EC") == 1 && bits == 384, "P-384 has 384 bits");
      break;
  }
  Require(!key.kid || key.kid->size() <= kMaxKidBytes, "a kid is short");
}

void CheckKeys(const KeySet& keys) {
  Require(keys.size() > 0 && keys.size() <= kMaxKeys, "the keys are counted");
  std::size_t found = 0;
  for (const char* name :
       {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384"}) {
    const Algorithm& algorithm = *FindAlgorithm(name);
    for (const VerificationKey* key : keys.Find(algorithm, std::nullopt)) {
      ++found;
      CheckKey(*key);
      Require(key->kind == algorithm.kind, "a key is of the kind of its algorithm");
      Require(key->algorithm == nullptr || key->algorithm == &algorithm, "a key is for its own");
      if (!key->kid) continue;
      Require(keys.Has(*key->kid), "a kid is known");
      const auto same = keys.Find(algorithm, *key->kid);
      Require(std::find(same.begin(), same.end(), key) != same.end(), "a kid finds its key");
    }
  }
  Require(found >= keys.size(), "each key is for an algorithm");
}

}  // namespace

void CheckInput(std::string_view input) {
  const auto keys = KeySet::Parse(input);
  Require(ERR_peek_error() == 0, "the error queue is empty");
  if (!keys.ok()) {
    const std::string& reason = keys.status().message();
    Require(keys.status().code() == Code::kInvalid && !reason.empty() &&
                reason.size() <= kMaxReasonBytes,
            "a reason is short");
    Require(std::all_of(reason.begin(), reason.end(), [](char c) { return c >= ' ' && c <= '~'; }),
            "a reason does not disturb a log");
    return;
  }
  CheckKeys(**keys);
  // By RS256, PS256, ES256 and ES384.
  for (const std::string& token :
       {Token("eyJhbGciOiJSUzI1NiJ9", 342), Token("eyJhbGciOiJQUzI1NiJ9", 342),
        Token("eyJhbGciOiJFUzI1NiJ9", 86), Token("eyJhbGciOiJFUzM4NCJ9", 128)}) {
    Require(!VerifyToken(token, **keys, kRules, 0).ok(), "nobody signed that");
    Require(ERR_peek_error() == 0, "the error queue is empty");
  }
}

}  // namespace podmirror::trust

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  podmirror::trust::CheckInput({reinterpret_cast<const char*>(data), size});
  return 0;
}
