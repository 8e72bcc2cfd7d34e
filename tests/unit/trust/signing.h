// Keys made for the tests, the key sets that tell them, and tokens signed with them.
// Thread safety: none.
#pragma once

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>

#include <catch2/catch.hpp>
#include <memory>
#include <string>
#include <string_view>

namespace podmirror::trust::testing {

using SigningKey = std::shared_ptr<EVP_PKEY>;

inline SigningKey MakeRsa(unsigned bits) { return SigningKey(EVP_RSA_gen(bits), EVP_PKEY_free); }
inline SigningKey MakeEc(const char* curve) { return SigningKey(EVP_EC_gen(curve), EVP_PKEY_free); }

// Each is made once: an RSA key takes some 100 ms.
inline const SigningKey& Rsa() {
  static const SigningKey kKey = MakeRsa(2048);
  return kKey;
}
inline const SigningKey& P256() {
  static const SigningKey kKey = MakeEc("P-256");
  return kKey;
}
inline const SigningKey& P384() {
  static const SigningKey kKey = MakeEc("P-384");
  return kKey;
}

inline std::string Base64Url(std::string_view bytes) {
  constexpr std::string_view kAlphabet =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
  std::string text;
  unsigned bits = 0;
  unsigned count = 0;
  for (const char c : bytes) {
    bits = (bits << 8 | static_cast<unsigned char>(c)) & 0xFFFF;
    for (count += 8; count >= 6; count -= 6) text += kAlphabet[bits >> (count - 6) & 63];
  }
  if (count > 0) text += kAlphabet[bits << (6 - count) & 63];
  return text;
}

// --- key sets ---

// A number of the key in base64url, with leading zeros up to `size` bytes if that is not 0.
inline std::string Number(const SigningKey& key, const char* param, int size = 0) {
  BIGNUM* number = nullptr;
  REQUIRE(EVP_PKEY_get_bn_param(key.get(), param, &number) == 1);
  std::string bytes(static_cast<std::size_t>(size != 0 ? size : BN_num_bytes(number)), '\0');
  BN_bn2binpad(number, reinterpret_cast<unsigned char*>(bytes.data()),
               static_cast<int>(bytes.size()));
  BN_free(number);
  return Base64Url(bytes);
}

// The members of a JWK: "kty" and the numbers.
inline std::string RsaMembers(const SigningKey& key) {
  return R"("kty":"RSA","n":")" + Number(key, OSSL_PKEY_PARAM_RSA_N) + R"(","e":")" +
         Number(key, OSSL_PKEY_PARAM_RSA_E) + "\"";
}
inline std::string EcMembers(const SigningKey& key) {
  const int size = (EVP_PKEY_get_bits(key.get()) + 7) / 8;
  return R"("kty":"EC","crv":"P-)" + std::to_string(8 * size) + R"(","x":")" +
         Number(key, OSSL_PKEY_PARAM_EC_PUB_X, size) + R"(","y":")" +
         Number(key, OSSL_PKEY_PARAM_EC_PUB_Y, size) + "\"";
}

// A key set of keys that are given by their members.
inline std::string Document(std::initializer_list<std::string> keys) {
  std::string text;
  for (const std::string& key : keys) text += (text.empty() ? "{" : ",{") + key + "}";
  return R"({"keys":[)" + text + "]}";
}

// --- tokens ---

enum class Form { kRaw, kDer };  // of a signature by ECDSA

// r and s of a signature in DER, each of half of `size` bytes.
inline std::string RawOf(const std::string& der, std::size_t size) {
  const auto* at = reinterpret_cast<const unsigned char*>(der.data());
  ECDSA_SIG* pair = d2i_ECDSA_SIG(nullptr, &at, static_cast<long>(der.size()));
  REQUIRE(pair != nullptr);
  std::string raw(size, '\0');
  auto* out = reinterpret_cast<unsigned char*>(raw.data());
  BN_bn2binpad(ECDSA_SIG_get0_r(pair), out, static_cast<int>(size / 2));
  BN_bn2binpad(ECDSA_SIG_get0_s(pair), out + size / 2, static_cast<int>(size / 2));
  ECDSA_SIG_free(pair);
  return raw;
}

// The signature by `alg` ("RS256" ...). With PSS the salt is as long as the digest unless `salt`
// says otherwise.
inline std::string Signature(const SigningKey& key, const std::string& alg, const std::string& text,
                             Form form = Form::kRaw, int salt = RSA_PSS_SALTLEN_DIGEST) {
  const std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context(EVP_MD_CTX_new(),
                                                                        EVP_MD_CTX_free);
  EVP_PKEY_CTX* padding = nullptr;
  REQUIRE(EVP_DigestSignInit_ex(context.get(), &padding, ("SHA" + alg.substr(2)).c_str(), nullptr,
                                nullptr, key.get(), nullptr) == 1);
  if (alg.starts_with("PS")) {
    REQUIRE(EVP_PKEY_CTX_set_rsa_padding(padding, RSA_PKCS1_PSS_PADDING) == 1);
    REQUIRE(EVP_PKEY_CTX_set_rsa_pss_saltlen(padding, salt) == 1);
  }
  const auto* data = reinterpret_cast<const unsigned char*>(text.data());
  std::size_t size = 0;
  REQUIRE(EVP_DigestSign(context.get(), nullptr, &size, data, text.size()) == 1);
  std::string signature(size, '\0');
  REQUIRE(EVP_DigestSign(context.get(), reinterpret_cast<unsigned char*>(signature.data()), &size,
                         data, text.size()) == 1);
  signature.resize(size);
  if (!alg.starts_with("ES") || form == Form::kDer) return signature;
  return RawOf(signature, alg == "ES256" ? 64 : 96);
}

// Header and payload as a signature covers them.
inline std::string Signable(const std::string& header, const std::string& payload) {
  return Base64Url(header) + "." + Base64Url(payload);
}

inline std::string Sign(const SigningKey& key, const std::string& alg, const std::string& header,
                        const std::string& payload) {
  const std::string text = Signable(header, payload);
  return text + "." + Base64Url(Signature(key, alg, text));
}

}  // namespace podmirror::trust::testing
