// Whatever a caller shows as a token: only the two that somebody signed are taken, and of what is
// refused the reason is one line for a log. The private halves of the keys are nowhere.
//
// Input: a token; or, when it begins with '{', a payload, which is signed here with a key of this
// process: how else could claims be reached that nobody signed?
#include <absl/strings/escaping.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
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
constexpr WallMs kNow = 1'796'000'000'000;
constexpr WallMs kLeewayMs = 30'000;
const TokenRules kRules{.issuer = "https://issuer", .audience = "podmirror"};

constexpr std::string_view kKeys =
    R"({"keys":[{"kid":"r","kty":"RSA","n":"0EyRXsIW19DWfSQRElUXbsIAyNN0h4UUZyrlD6YOutZMfgv9)"
    R"(mNJQuAuzzajQ5OhlfjwyiMFmZRjATufhybdEuIdVKeu0N7CvSx2huNZZpdot3VBWwNuiPA7JQYAKR9UBlR39j)"
    R"(2WekyKVmYfwrsjTdaORWzwG_UEqY4bwBOeuB8CJE_ml_WInDojTe9TwoiOFO-cortTrLcS57t9dhG5vgDu0eG)"
    R"(4zCH540Kw3MN_8pBlh20vEJvZkZzHBuEjTVeXHK69xi-7VPoWfvAN_UKPDr8ZPR4wVeel1kbslBrJrbwP8tRS)"
    R"(x6Tiz0AxZFpWv5Dd-3YjATNrjKIElL2KqTgJcXQ","e":"AQAB"},{"kid":"p","kty":"EC","crv":"P-2)"
    R"(56","x":"tQd3bbaR-wJWGqqmXGrM6sZAo3AzPVAwAL_T5x6Lk7A","y":"G7frOufitPrCHAAs4--VGcH3Id)"
    R"(02ReR7ncggG4-R_so"},{"kty":"EC","crv":"P-384","x":"1-gY-vC0QhjPM5cdYxATwwaOrRvNW-5V26)"
    R"(oG566kbdi9ivbFDPp76t4R-KcRk0IA","y":"Yu63MQzBTCJqPu9pFLLP9XoaC2w_Uui0I2cDf678Ca8vJ15L)"
    R"(8_qMipCyRAkV5A7W"}]})";

constexpr std::string_view kByRs256 =
    "eyJhbGciOiJSUzI1NiIsImtpZCI6InIifQ.eyJpc3MiOiJodHRwczovL2lzc3VlciIsImF1ZCI6InBvZG1pcnJvciI"
    "sInN1YiI6ImFwcCIsImV4cCI6NDEwMjQ0NDgwMH0.KkU6hfz72o7XGFD8mGutzQ6xaeBXuPlokcCLwckaKnXCzZL3D"
    "PH0MxW4-oNx4LWzbaQ-89oc-asI1O0Eljl-1Du0rVYIOt7b_fOiS9PA0be6aeqkU4MzsCRG8jZ2spAZ_lEhVpUhT9_"
    "lnLlQJa9URG9VYDsYLFIkUtup-VNFbJxfIsqNyPh3hJMjrlLqjfrJBk6jJrEMWGv32agutmrBnxbzMduas8Npr8Mn3"
    "IAguAALb1Wg7Bmolw_ET3D5AzC3jlE0b62LYmn-QEEFb5iW70vizx6dIkvQqy2H8Dx6OXlar7APxCuPRLFJB15jRcF"
    "V_ftY0Fab6CY_ZWl-niiyjA";
constexpr std::string_view kByEs256 =
    "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJodHRwczovL2lzc3VlciIsImF1ZCI6InBvZG1pcnJvciIsInN1YiI6ImFwc"
    "CIsImV4cCI6NDEwMjQ0NDgwMH0.UUkSsBbhb43MpFj5M_rNYHHNtv4CSXG-coXc4UO_J5RdD_w3dD58TOUuC3f99JY"
    "wmqvXhNOgeXnRAghEYLM-VA";

std::shared_ptr<const KeySet> Parse(std::string_view document) {
  auto keys = KeySet::Parse(document);
  Require(keys.ok(), "the keys can be read");
  return *keys;
}

std::string Base64Url(const std::string& bytes) {
  std::string text;
  absl::WebSafeBase64Escape(bytes, &text);
  return text.substr(0, text.find('='));
}

// --- a key of this process ---

EVP_PKEY* OwnKey() {
  static EVP_PKEY* const kKey = EVP_EC_gen("P-256");
  return kKey;
}

std::string Padded(const BIGNUM* number) {
  std::string bytes(32, '\0');
  BN_bn2binpad(number, reinterpret_cast<unsigned char*>(bytes.data()), 32);
  return bytes;
}

std::string OwnCoordinate(const char* param) {
  BIGNUM* number = nullptr;
  EVP_PKEY_get_bn_param(OwnKey(), param, &number);
  std::string bytes = Padded(number);
  BN_free(number);
  return Base64Url(bytes);
}

const KeySet& OwnKeys() {
  static const std::shared_ptr<const KeySet> kSet = Parse(
      R"({"keys":[{"kty":"EC","crv":"P-256","x":")" + OwnCoordinate(OSSL_PKEY_PARAM_EC_PUB_X) +
      R"(","y":")" + OwnCoordinate(OSSL_PKEY_PARAM_EC_PUB_Y) + "\"}]}");
  return *kSet;
}

std::string SignedHere(std::string_view payload) {
  const std::string text = Base64Url(R"({"alg":"ES256"})") + "." + Base64Url(std::string(payload));
  unsigned char der[80];
  std::size_t size = sizeof(der);
  EVP_MD_CTX* context = EVP_MD_CTX_new();
  const bool done =
      EVP_DigestSignInit_ex(context, nullptr, "SHA256", nullptr, nullptr, OwnKey(), nullptr) == 1 &&
      EVP_DigestSign(context, der, &size, reinterpret_cast<const unsigned char*>(text.data()),
                     text.size()) == 1;
  EVP_MD_CTX_free(context);
  Require(done, "what is here can be signed");
  const unsigned char* at = der;
  ECDSA_SIG* pair = d2i_ECDSA_SIG(nullptr, &at, static_cast<long>(size));
  const std::string raw = Padded(ECDSA_SIG_get0_r(pair)) + Padded(ECDSA_SIG_get0_s(pair));
  ECDSA_SIG_free(pair);
  return text + "." + Base64Url(raw);
}

// --- what holds ---

void CheckRefusal(const Status& status) {
  const std::string& reason = status.message();
  Require(!reason.empty() && reason.size() <= kMaxReasonBytes, "a reason is short");
  Require(std::all_of(reason.begin(), reason.end(), [](char c) { return c >= ' ' && c <= '~'; }),
          "a reason does not disturb a log");
  Require(status.code() == Code::kRefused || status.code() == Code::kNotFound,
          "a token is refused, or its key is not known");
}

Result<Claims> Verify(std::string_view token, const KeySet& keys) {
  Result<Claims> claims = VerifyToken(token, keys, kRules, kNow);
  Require(ERR_peek_error() == 0, "the error queue is empty");
  if (!claims.ok()) {
    CheckRefusal(claims.status());
    return claims;
  }
  Require(!claims->subject.empty(), "somebody is meant");
  Require(claims->expires > kNow - kLeewayMs, "it has not expired");
  const auto says = [&](const char* name, const std::string& text) {
    const auto at = claims->texts.find(name);
    return at != claims->texts.end() &&
           std::find(at->second.begin(), at->second.end(), text) != at->second.end();
  };
  Require(says("iss", kRules.issuer) && says("aud", kRules.audience), "it is from there, for us");
  Require(says("sub", claims->subject), "the subject is a claim");
  return claims;
}

}  // namespace

void CheckInput(std::string_view input) {
  static const std::shared_ptr<const KeySet> kSet = Parse(kKeys);
  static const bool kTaken = Verify(kByRs256, *kSet).ok() && Verify(kByEs256, *kSet).ok();
  Require(kTaken, "what was signed is taken");
  if (input.starts_with('{')) {
    const std::string token = SignedHere(input);
    const Result<Claims> claims = Verify(token, OwnKeys());
    Require(claims.ok() || !claims.status().message().starts_with("its signature "),
            "a signature fits");
    Require(!Verify(token, *kSet).ok(), "a key fits what it signed only");
  }
  Require(!Verify(input, *kSet).ok() || input == kByRs256 || input == kByEs256,
          "only what was signed is taken");
}

}  // namespace podmirror::trust

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  podmirror::trust::CheckInput({reinterpret_cast<const char*>(data), size});
  return 0;
}
