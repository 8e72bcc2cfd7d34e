#include "trust/jwt.h"

#include <absl/time/time.h>
#include <openssl/bn.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>
#include <vector>

#include "trust/jose.h"
#include "trust/shown.h"

namespace podmirror::trust {

using nlohmann::json;

namespace {

constexpr std::size_t kMaxTokenBytes = 16 * 1024;
constexpr std::size_t kMaxTries = 16;
constexpr WallMs kLeewayMs = 30'000;
constexpr double kYear10000 = 253402300800;  // in seconds

Status Refused(std::string message) { return {Code::kRefused, std::move(message)}; }

// --- the form ---

struct Parts {
  std::string_view signed_text;  // of the token itself: header, dot, payload
  std::string header;
  std::string payload;
  std::string signature;
};

Result<Parts> Split(std::string_view token) {
  if (token.size() > kMaxTokenBytes) return Refused("it is longer than 16 KiB");
  const std::size_t first = token.find('.');
  const std::size_t last = token.rfind('.');
  if (std::count(token.begin(), token.end(), '.') != 2) {
    return Refused("it is not three parts with dots between them");
  }
  std::optional<std::string> header = DecodeBase64Url(token.substr(0, first));
  if (!header) return Refused("its header is not base64url without padding");
  std::optional<std::string> payload = DecodeBase64Url(token.substr(first + 1, last - first - 1));
  if (!payload) return Refused("its payload is not base64url without padding");
  std::optional<std::string> signature = DecodeBase64Url(token.substr(last + 1));
  if (!signature) return Refused("its signature is not base64url without padding");
  return Parts{token.substr(0, last), *std::move(header), *std::move(payload),
               *std::move(signature)};
}

struct Header {
  const Algorithm* algorithm = nullptr;
  std::optional<std::string> kid;
};

// Keys that the header itself brings or points to ("jwk", "jku", "x5c", "x5u") are not looked at.
Result<Header> ReadHeader(const std::string& text) {
  const Result<json> header = ParseObject(text);
  if (!header.ok()) return Refused("its header " + header.status().message());
  for (const char* name : {"crit", "b64"}) {
    if (header->contains(name)) {
      return Refused("its header asks for an extension by \"" + std::string(name) + "\"");
    }
  }
  const Result<const std::string*> alg = TextMember(*header, "alg");
  if (!alg.ok()) return Refused("its header is wrong: " + alg.status().message());
  if (*alg == nullptr) return Refused("its header has no \"alg\"");
  const Algorithm* algorithm = FindAlgorithm(**alg);
  if (algorithm == nullptr) return Refused("alg " + Shown(**alg) + " is not taken");
  const Result<const std::string*> kid = TextMember(*header, "kid");
  if (!kid.ok()) return Refused("its header is wrong: " + kid.status().message());
  return Header{algorithm, *kid != nullptr ? std::optional(**kid) : std::nullopt};
}

// --- the signature ---

using BigNumber = std::unique_ptr<BIGNUM, decltype(&BN_free)>;

struct EmptyErrorQueue {
  ~EmptyErrorQueue() { ERR_clear_error(); }
};

const unsigned char* Data(std::string_view bytes) {
  return reinterpret_cast<const unsigned char*>(bytes.data());
}

// The DER that OpenSSL wants, of r and s one after the other; empty when OpenSSL fails.
std::string DerOf(std::string_view signature) {
  const std::size_t half = signature.size() / 2;
  const auto number = [](std::string_view bytes) {
    return BigNumber(BN_bin2bn(Data(bytes), static_cast<int>(bytes.size()), nullptr), BN_free);
  };
  BigNumber r = number(signature.substr(0, half));
  BigNumber s = number(signature.substr(half));
  const std::unique_ptr<ECDSA_SIG, decltype(&ECDSA_SIG_free)> pair(ECDSA_SIG_new(), ECDSA_SIG_free);
  if (pair == nullptr || ECDSA_SIG_set0(pair.get(), r.get(), s.get()) != 1) return "";
  // They belong to the pair now.
  static_cast<void>(r.release());
  static_cast<void>(s.release());
  std::string der(static_cast<std::size_t>(std::max(0, i2d_ECDSA_SIG(pair.get(), nullptr))), '\0');
  auto* out = reinterpret_cast<unsigned char*>(der.data());
  return i2d_ECDSA_SIG(pair.get(), &out) > 0 ? der : "";
}

std::size_t SignatureBytes(const VerificationKey& key) {
  switch (key.kind) {
    case KeyKind::kRsa:
      return static_cast<std::size_t>(EVP_PKEY_get_size(key.key.get()));
    case KeyKind::kP256:
      return 64;
    case KeyKind::kP384:
      return 96;
  }
  return 0;
}

bool Signed(const VerificationKey& key, const Algorithm& algorithm, std::string_view text,
            std::string_view signature) {
  // OpenSSL would take a signature by PSS whose leading zeros were cut off.
  if (signature.size() != SignatureBytes(key)) return false;
  const std::string der = key.kind == KeyKind::kRsa ? std::string() : DerOf(signature);
  const std::string_view given = key.kind == KeyKind::kRsa ? signature : std::string_view(der);
  const std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context(EVP_MD_CTX_new(),
                                                                        EVP_MD_CTX_free);
  EVP_PKEY_CTX* padding = nullptr;  // belongs to the context
  if (context == nullptr ||
      EVP_DigestVerifyInit_ex(context.get(), &padding, algorithm.digest, nullptr, nullptr,
                              key.key.get(), nullptr) != 1) {
    return false;
  }
  // MGF1 takes the same digest unless told otherwise.
  if (algorithm.pss && (EVP_PKEY_CTX_set_rsa_padding(padding, RSA_PKCS1_PSS_PADDING) != 1 ||
                        EVP_PKEY_CTX_set_rsa_pss_saltlen(padding, RSA_PSS_SALTLEN_DIGEST) != 1)) {
    return false;
  }
  return EVP_DigestVerify(context.get(), Data(given), given.size(), Data(text), text.size()) == 1;
}

Status CheckSignature(const Parts& parts, const Header& header, const KeySet& keys) {
  const EmptyErrorQueue empty_on_return;
  const std::string name(header.algorithm->name);
  if (header.kid && !keys.Has(*header.kid)) {
    return {Code::kNotFound, "no key has the kid of this token"};
  }
  std::vector<const VerificationKey*> candidates = keys.Find(*header.algorithm, header.kid);
  if (candidates.empty()) {
    return Refused((header.kid ? "the key with its kid is not for " : "no key is for ") + name);
  }
  candidates.resize(std::min(candidates.size(), kMaxTries));
  const bool fits = std::any_of(candidates.begin(), candidates.end(), [&](const auto* key) {
    return Signed(*key, *header.algorithm, parts.signed_text, parts.signature);
  });
  if (!fits) return Refused("its signature by " + name + " does not fit the key");
  return Status();
}

// --- the claims ---

// A number of seconds, maybe with a fraction; nothing when the claim is missing.
Result<std::optional<WallMs>> TimeClaim(const json& claims, const char* name) {
  const auto at = claims.find(name);
  if (at == claims.end()) return std::optional<WallMs>();
  const double seconds = at->is_number() ? at->get<double>() : -1;
  // Also refuses what is not a number.
  if (!(seconds >= 0 && seconds < kYear10000)) {
    return Refused("its \"" + std::string(name) + "\" is not a time in seconds");
  }
  return std::optional(static_cast<WallMs>(std::floor(seconds * 1000)));
}

std::string Written(WallMs time) {
  return absl::FormatTime("%Y-%m-%dT%H:%M:%SZ", absl::FromUnixMillis(time), absl::UTCTimeZone());
}

// When it expires. Sums with the leeway cannot overflow, as TimeClaim bounds the times.
Result<WallMs> CheckTimes(const json& claims, WallMs now) {
  const Result<std::optional<WallMs>> exp = TimeClaim(claims, "exp");
  if (!exp.ok()) return exp.status();
  if (!*exp) return Refused("it has no \"exp\"");
  if (now >= **exp + kLeewayMs) return Refused("it expired " + Written(**exp));
  const Result<std::optional<WallMs>> nbf = TimeClaim(claims, "nbf");
  if (!nbf.ok()) return nbf.status();
  if (*nbf && **nbf - kLeewayMs > now) return Refused("it is not valid before " + Written(**nbf));
  const Result<std::optional<WallMs>> iat = TimeClaim(claims, "iat");
  if (!iat.ok()) return iat.status();
  if (*iat && **iat - kLeewayMs > now) {
    return Refused("it says that it was issued later than now, " + Written(**iat));
  }
  return **exp;
}

// What a claim says whose value is a text or a list of texts.
std::optional<std::vector<std::string>> Texts(const json& claim) {
  if (claim.is_string()) return std::vector{claim.get<std::string>()};
  const auto is_text = [](const json& value) { return value.is_string(); };
  if (!claim.is_array() || !std::all_of(claim.begin(), claim.end(), is_text)) return std::nullopt;
  return claim.get<std::vector<std::string>>();
}

Status CheckParties(const json& claims, const TokenRules& rules) {
  const Result<const std::string*> iss = TextMember(claims, "iss");
  if (!iss.ok()) return Refused("its payload is wrong: " + iss.status().message());
  if (*iss == nullptr) return Refused("it has no \"iss\"");
  if (**iss != rules.issuer) {
    return Refused("its issuer is \"" + Shown(**iss) + "\", not \"" + Shown(rules.issuer) + "\"");
  }
  const auto aud = claims.find("aud");
  if (aud == claims.end()) return Refused("it has no \"aud\"");
  const std::optional<std::vector<std::string>> audiences = Texts(*aud);
  if (!audiences) return Refused("its \"aud\" is not a text or a list of texts");
  if (std::find(audiences->begin(), audiences->end(), rules.audience) == audiences->end()) {
    return Refused("its audience is not " + Shown(rules.audience));
  }
  return Status();
}

Result<Claims> ReadClaims(const std::string& text, const TokenRules& rules, WallMs now) {
  const Result<json> payload = ParseObject(text);
  if (!payload.ok()) return Refused("its payload " + payload.status().message());
  if (Status status = CheckParties(*payload, rules); !status.ok()) return status;
  const Result<WallMs> expires = CheckTimes(*payload, now);
  if (!expires.ok()) return expires.status();
  const Result<const std::string*> sub = TextMember(*payload, "sub");
  if (!sub.ok()) return Refused("its payload is wrong: " + sub.status().message());
  if (*sub == nullptr || (*sub)->empty()) return Refused("it names no subject in \"sub\"");
  Claims claims{.subject = **sub, .expires = *expires, .texts = {}};
  for (const auto& [name, value] : payload->items()) {
    if (auto texts = Texts(value)) claims.texts.emplace(name, *std::move(texts));
  }
  return claims;
}

}  // namespace

Result<Claims> VerifyToken(std::string_view token, const KeySet& keys, const TokenRules& rules,
                           WallMs now) {
  const Result<Parts> parts = Split(token);
  if (!parts.ok()) return parts.status();
  const Result<Header> header = ReadHeader(parts->header);
  if (!header.ok()) return header.status();
  if (Status status = CheckSignature(*parts, *header, keys); !status.ok()) return status;
  return ReadClaims(parts->payload, rules, now);
}

}  // namespace podmirror::trust
