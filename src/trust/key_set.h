// A KeySet holds the public keys of an issuer of tokens, as it publishes them (a JWK Set, RFC
// 7517). Symmetric keys are never taken: whoever can check a token must not be able to make one.
// Thread safety: immutable; all calls from any thread, as is verification with one EVP_PKEY.
// Invariants: (1) there is at least one key;
//             (2) each key is of a kind that an Algorithm needs, and of sound size: RSA of 2048 to
//                 8192 bits, or a point on P-256 or P-384.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/status.h"

typedef struct evp_pkey_st EVP_PKEY;  // <openssl/types.h>, which only the sources need

namespace podmirror::trust {

enum class KeyKind { kRsa, kP256, kP384 };

// How a token may be signed (RFC 7518, section 3.1). "none" and "HS..." are none of them.
struct Algorithm {
  std::string_view name;
  KeyKind kind;        // of the key
  const char* digest;  // as OpenSSL calls it
  bool pss;            // RSASSA-PSS; else PKCS #1 v1.5 with RSA, or ECDSA
};

// RS256 RS384 RS512 PS256 PS384 PS512 ES256 ES384; null for every other name. There is one object
// for each, so pointers tell them apart.
const Algorithm* FindAlgorithm(std::string_view name);

struct VerificationKey {
  std::optional<std::string> kid;
  KeyKind kind;
  const Algorithm* algorithm;  // the only one that it is for; null: all of its kind
  std::unique_ptr<EVP_PKEY, void (*)(EVP_PKEY*)> key;
};

class KeySet {
 public:
  // Keys of another kind, curve, algorithm or use than to verify signatures are skipped. kInvalid
  // with the reason when the document is larger than 1 MiB, is no key set, has more than 256 keys
  // or none to use, or when one that is not skipped is malformed, too weak or too large. The
  // OpenSSL error queue is empty afterwards.
  static Result<std::shared_ptr<const KeySet>> Parse(std::string_view json);

  // Whether a key has this id, whatever algorithms it is for.
  bool Has(std::string_view kid) const;

  // The keys that are for the algorithm, and have the id if one is given, in the order of the
  // document. They live as long as the set.
  std::vector<const VerificationKey*> Find(const Algorithm& algorithm,
                                           std::optional<std::string_view> kid) const;

  std::size_t size() const { return keys_.size(); }

 private:
  explicit KeySet(std::vector<VerificationKey> keys) : keys_(std::move(keys)) {}

  const std::vector<VerificationKey> keys_;
};

}  // namespace podmirror::trust
