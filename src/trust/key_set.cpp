#include "trust/key_set.h"

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "trust/jose.h"

namespace podmirror::trust {

using nlohmann::json;

namespace {

constexpr std::size_t kMaxBytes = std::size_t{1} << 20;
constexpr std::size_t kMaxKeys = 256;
constexpr std::size_t kMaxKidBytes = 1024;
constexpr int kMinModulusBits = 2048;
constexpr int kMaxModulusBits = 8192;
// A verification takes time with the exponent; 65537 is what everybody uses.
constexpr int kMaxExponentBits = 32;

constexpr std::array<Algorithm, 8> kAlgorithms = {{{"RS256", KeyKind::kRsa, "SHA256", false},
                                                   {"RS384", KeyKind::kRsa, "SHA384", false},
                                                   {"RS512", KeyKind::kRsa, "SHA512", false},
                                                   {"PS256", KeyKind::kRsa, "SHA256", true},
                                                   {"PS384", KeyKind::kRsa, "SHA384", true},
                                                   {"PS512", KeyKind::kRsa, "SHA512", true},
                                                   {"ES256", KeyKind::kP256, "SHA256", false},
                                                   {"ES384", KeyKind::kP384, "SHA384", false}}};

using BigNumber = std::unique_ptr<BIGNUM, decltype(&BN_free)>;
using Builder = std::unique_ptr<OSSL_PARAM_BLD, decltype(&OSSL_PARAM_BLD_free)>;
using Params = std::unique_ptr<OSSL_PARAM, decltype(&OSSL_PARAM_free)>;
using KeyContext = std::unique_ptr<EVP_PKEY_CTX, decltype(&EVP_PKEY_CTX_free)>;
using PublicKey = std::unique_ptr<EVP_PKEY, void (*)(EVP_PKEY*)>;

struct EmptyErrorQueue {
  ~EmptyErrorQueue() { ERR_clear_error(); }
};

// Null when OpenSSL makes no key of it: the point is not on the curve.
PublicKey MakeKey(const char* type, OSSL_PARAM_BLD* builder) {
  const Params params(OSSL_PARAM_BLD_to_param(builder), OSSL_PARAM_free);
  const KeyContext context(EVP_PKEY_CTX_new_from_name(nullptr, type, nullptr), EVP_PKEY_CTX_free);
  EVP_PKEY* key = nullptr;
  if (params != nullptr && context != nullptr && EVP_PKEY_fromdata_init(context.get()) == 1) {
    EVP_PKEY_fromdata(context.get(), &key, EVP_PKEY_PUBLIC_KEY, params.get());
  }
  return PublicKey(key, EVP_PKEY_free);
}

Result<std::string> Bytes(const json& jwk, const char* name) {
  const Result<const std::string*> text = TextMember(jwk, name);
  if (!text.ok()) return text.status();
  if (*text == nullptr) return Invalid("\"" + std::string(name) + "\" is missing");
  std::optional<std::string> bytes = DecodeBase64Url(**text);
  if (!bytes) return Invalid("\"" + std::string(name) + "\" is not base64url without padding");
  return *std::move(bytes);
}

BigNumber Number(const std::string& bytes) {
  return BigNumber(BN_bin2bn(reinterpret_cast<const unsigned char*>(bytes.data()),
                             static_cast<int>(bytes.size()), nullptr),
                   BN_free);
}

Result<PublicKey> RsaKey(const json& jwk) {
  const Result<std::string> n_bytes = Bytes(jwk, "n");
  if (!n_bytes.ok()) return n_bytes.status();
  const Result<std::string> e_bytes = Bytes(jwk, "e");
  if (!e_bytes.ok()) return e_bytes.status();
  const BigNumber n = Number(*n_bytes);
  const BigNumber e = Number(*e_bytes);
  if (n == nullptr || e == nullptr) return Invalid("OpenSSL makes no numbers of it");
  const int bits = BN_num_bits(n.get());
  if (bits < kMinModulusBits || bits > kMaxModulusBits) {
    return Invalid("has " + std::to_string(bits) + " bits, not 2048 to 8192");
  }
  if (BN_is_odd(n.get()) == 0) return Invalid("\"n\" is even");
  if (BN_is_odd(e.get()) == 0 || BN_is_one(e.get()) != 0 ||
      BN_num_bits(e.get()) > kMaxExponentBits) {
    return Invalid("\"e\" is not an odd number from 3 to 2^32");
  }
  const Builder builder(OSSL_PARAM_BLD_new(), OSSL_PARAM_BLD_free);
  if (builder == nullptr ||
      OSSL_PARAM_BLD_push_BN(builder.get(), OSSL_PKEY_PARAM_RSA_N, n.get()) != 1 ||
      OSSL_PARAM_BLD_push_BN(builder.get(), OSSL_PKEY_PARAM_RSA_E, e.get()) != 1) {
    return Invalid("OpenSSL makes no key of it");
  }
  PublicKey key = MakeKey("RSA", builder.get());
  if (key == nullptr) return Invalid("OpenSSL makes no key of it");
  return key;
}

Result<PublicKey> EcKey(const json& jwk, KeyKind kind) {
  const std::size_t size = kind == KeyKind::kP256 ? 32 : 48;
  std::string point = "\x04";  // uncompressed
  for (const char* name : {"x", "y"}) {
    const Result<std::string> coordinate = Bytes(jwk, name);
    if (!coordinate.ok()) return coordinate.status();
    if (coordinate->size() != size) {
      return Invalid("\"" + std::string(name) + "\" has not the size of the curve");
    }
    point += *coordinate;
  }
  const Builder builder(OSSL_PARAM_BLD_new(), OSSL_PARAM_BLD_free);
  const char* group = kind == KeyKind::kP256 ? "P-256" : "P-384";
  if (builder == nullptr ||
      OSSL_PARAM_BLD_push_utf8_string(builder.get(), OSSL_PKEY_PARAM_GROUP_NAME, group, 0) != 1 ||
      OSSL_PARAM_BLD_push_octet_string(builder.get(), OSSL_PKEY_PARAM_PUB_KEY, point.data(),
                                       point.size()) != 1) {
    return Invalid("OpenSSL makes no key of it");
  }
  PublicKey key = MakeKey("EC", builder.get());
  if (key == nullptr) return Invalid("is not a point on its curve");
  // To make a key is not documented to check it. The long check would multiply by the order, too,
  // which says no more of a point on a curve whose cofactor is 1.
  const KeyContext check(EVP_PKEY_CTX_new_from_pkey(nullptr, key.get(), nullptr),
                         EVP_PKEY_CTX_free);
  if (check == nullptr || EVP_PKEY_public_check_quick(check.get()) != 1) {
    return Invalid("is not a point on its curve");
  }
  return key;
}

// Nothing when keys of this kind are skipped.
Result<std::optional<KeyKind>> ReadKind(const json& jwk) {
  const Result<const std::string*> type = TextMember(jwk, "kty");
  if (!type.ok()) return type.status();
  if (*type == nullptr) return Invalid("\"kty\" is missing");
  if (**type == "RSA") return std::optional(KeyKind::kRsa);
  if (**type != "EC") return std::optional<KeyKind>();
  const Result<const std::string*> curve = TextMember(jwk, "crv");
  if (!curve.ok()) return curve.status();
  if (*curve == nullptr) return Invalid("\"crv\" is missing");
  if (**curve == "P-256") return std::optional(KeyKind::kP256);
  if (**curve == "P-384") return std::optional(KeyKind::kP384);
  return std::optional<KeyKind>();
}

// Whether the issuer means the key to verify signatures; it need not say so.
Result<bool> Verifies(const json& jwk) {
  const Result<const std::string*> use = TextMember(jwk, "use");
  if (!use.ok()) return use.status();
  if (*use != nullptr && **use != "sig") return false;
  const auto operations = jwk.find("key_ops");
  if (operations == jwk.end()) return true;
  if (!operations->is_array()) return Invalid("\"key_ops\" is not a list");
  return std::find(operations->begin(), operations->end(), "verify") != operations->end();
}

// Nothing when the key is skipped.
Result<std::optional<VerificationKey>> ReadKey(const json& jwk) {
  if (!jwk.is_object()) return Invalid("is not an object");
  const Result<std::optional<KeyKind>> kind = ReadKind(jwk);
  if (!kind.ok()) return kind.status();
  if (!*kind) return std::optional<VerificationKey>();
  const Result<bool> verifies = Verifies(jwk);
  if (!verifies.ok()) return verifies.status();
  const Result<const std::string*> alg = TextMember(jwk, "alg");
  if (!alg.ok()) return alg.status();
  const Algorithm* algorithm = *alg != nullptr ? FindAlgorithm(**alg) : nullptr;
  const bool for_another = *alg != nullptr && (algorithm == nullptr || algorithm->kind != **kind);
  if (!*verifies || for_another) return std::optional<VerificationKey>();

  const Result<const std::string*> kid = TextMember(jwk, "kid");
  if (!kid.ok()) return kid.status();
  if (*kid != nullptr && (*kid)->size() > kMaxKidBytes) {
    return Invalid("\"kid\" is longer than 1 KiB");
  }
  Result<PublicKey> key = **kind == KeyKind::kRsa ? RsaKey(jwk) : EcKey(jwk, **kind);
  if (!key.ok()) return key.status();
  return std::optional(VerificationKey{*kid != nullptr ? std::optional(**kid) : std::nullopt,
                                       **kind, algorithm, std::move(*key)});
}

}  // namespace

const Algorithm* FindAlgorithm(std::string_view name) {
  const auto* at = std::find_if(kAlgorithms.begin(), kAlgorithms.end(),
                                [&](const Algorithm& algorithm) { return algorithm.name == name; });
  return at != kAlgorithms.end() ? at : nullptr;
}

Result<std::shared_ptr<const KeySet>> KeySet::Parse(std::string_view text) {
  const EmptyErrorQueue empty_on_return;
  if (text.size() > kMaxBytes) return Invalid("the key set is larger than 1 MiB");
  const Result<json> document = ParseObject(text);
  if (!document.ok()) return Invalid("the key set " + document.status().message());
  const auto list = document->find("keys");
  if (list == document->end() || !list->is_array()) {
    return Invalid("the key set has no list \"keys\"");
  }
  if (list->size() > kMaxKeys) return Invalid("the key set has more than 256 keys");
  std::vector<VerificationKey> keys;
  for (std::size_t i = 0; i < list->size(); ++i) {
    Result<std::optional<VerificationKey>> key = ReadKey((*list)[i]);
    if (!key.ok()) {
      return Invalid("keys[" + std::to_string(i) + "]: " + key.status().message());
    }
    if (*key) keys.push_back(*std::move(*key));
  }
  if (keys.empty()) return Invalid("the key set has no key that can verify a token");
  return std::shared_ptr<const KeySet>(new KeySet(std::move(keys)));
}

bool KeySet::Has(std::string_view kid) const {
  return std::any_of(keys_.begin(), keys_.end(),
                     [&](const VerificationKey& key) { return key.kid == kid; });
}

std::vector<const VerificationKey*> KeySet::Find(const Algorithm& algorithm,
                                                 std::optional<std::string_view> kid) const {
  std::vector<const VerificationKey*> found;
  for (const VerificationKey& key : keys_) {
    if (key.kind != algorithm.kind) continue;
    if (key.algorithm != nullptr && key.algorithm != &algorithm) continue;
    if (kid && key.kid != *kid) continue;
    found.push_back(&key);
  }
  return found;
}

}  // namespace podmirror::trust
