#include "trust/key_set.h"

#include <openssl/err.h>

#include <catch2/catch.hpp>
#include <string>

#include "unit/trust/signing.h"

namespace podmirror::trust {
namespace {

using testing::Document;
using testing::EcMembers;
using testing::P256;
using testing::P384;
using testing::Rsa;
using testing::RsaMembers;

// Why the document is refused; "" when it is not.
std::string Wrong(const std::string& document) {
  const auto keys = KeySet::Parse(document);
  CHECK(ERR_peek_error() == 0);
  if (keys.ok()) return "";
  CHECK(keys.status().code() == Code::kInvalid);
  return keys.status().message();
}

// Whether the key is, beside one that is not.
bool Skipped(const std::string& members) {
  const auto keys = KeySet::Parse(Document({members, RsaMembers(Rsa())}));
  REQUIRE(keys.ok());
  return (*keys)->size() == 1;
}

// `text` with the value of the member replaced.
std::string With(std::string text, const std::string& member, const std::string& value) {
  const std::size_t at = text.find("\"" + member + "\":\"") + member.size() + 4;
  return text.replace(at, text.find('"', at) - at, value);
}

TEST_CASE("a key set: keys are found by id and algorithm") {
  const auto parsed = KeySet::Parse(
      Document({R"("kid":"a",)" + RsaMembers(Rsa()),
                R"("kid":"a","use":"sig","alg":"PS256",)" + RsaMembers(Rsa()),
                R"("kid":"b","key_ops":["verify"],)" + EcMembers(P256()), EcMembers(P384())}));
  REQUIRE(parsed.ok());
  const KeySet& keys = **parsed;
  CHECK(keys.size() == 4);
  const auto found = [&](const char* alg, std::optional<std::string_view> kid = std::nullopt) {
    return keys.Find(*FindAlgorithm(alg), kid).size();
  };
  CHECK(found("RS256") == 1);
  CHECK(found("PS256") == 2);
  CHECK(found("PS256", "a") == 2);
  CHECK(found("PS256", "b") == 0);
  CHECK(found("ES256") == 1);
  CHECK(found("ES256", "b") == 1);
  CHECK(found("ES384") == 1);
  CHECK(found("ES384", "") == 0);
  CHECK(keys.Has("a"));
  CHECK(keys.Has("b"));
  CHECK_FALSE(keys.Has(""));
  CHECK_FALSE(keys.Has("c"));
}

TEST_CASE("a key set: only signatures with public keys are algorithms") {
  for (const char* name :
       {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384"}) {
    REQUIRE(FindAlgorithm(name) != nullptr);
    CHECK(FindAlgorithm(name)->name == name);
  }
  for (const char* name : {"", "none", "None", "HS256", "HS384", "HS512", "rs256", "RS256 ",
                           "ES256K", "ES512", "EdDSA", "RS1", "RSA-OAEP"}) {
    INFO(name);
    CHECK(FindAlgorithm(name) == nullptr);
  }
}

TEST_CASE("a key set: what is for another purpose is skipped, whatever it holds") {
  const std::string rsa = RsaMembers(Rsa());
  CHECK(Skipped(R"("kty":"oct","k":"c2VjcmV0")"));
  CHECK(Skipped(R"("kty":"oct","alg":"RS256","k":"c2VjcmV0")"));
  CHECK(Skipped(R"("kty":"OKP","crv":"Ed25519","x":"AA")"));
  CHECK(Skipped(R"("kty":"EC","crv":"P-521")"));
  CHECK(Skipped(R"("kty":"EC","crv":"secp256k1")"));
  CHECK(Skipped(R"("use":"enc","kty":"RSA","n":"!")"));
  CHECK(Skipped(R"("key_ops":["encrypt"],)" + rsa));
  CHECK(Skipped(R"("alg":"RSA-OAEP",)" + rsa));
  CHECK(Skipped(R"("alg":"HS256",)" + rsa));
  CHECK(Skipped(R"("alg":"ES256",)" + rsa));
  CHECK(Skipped(R"("alg":"ES384",)" + EcMembers(P256())));
  CHECK_FALSE(Skipped(rsa));
}

TEST_CASE("a key set: a malformed document is refused") {
  CHECK(Wrong("") == "the key set is not JSON that can be read");
  CHECK(Wrong("[]") == "the key set is not an object");
  CHECK(Wrong("{}") == "the key set has no list \"keys\"");
  CHECK(Wrong(R"({"keys":{}})") == "the key set has no list \"keys\"");
  CHECK(Wrong(R"({"keys":[]})") == "the key set has no key that can verify a token");
  CHECK(Wrong(Document({R"("kty":"oct")"})) == "the key set has no key that can verify a token");
  CHECK(Wrong(R"({"keys":[],"keys":[]})") == "the key set names a member twice");
  const std::string good = Document({RsaMembers(Rsa())});
  CHECK(Wrong(good).empty());
  CHECK(Wrong(good + "x") == "the key set is not JSON that can be read");
  CHECK(Wrong(good + std::string("\0x", 2)) == "the key set is not JSON that can be read");
  CHECK(Wrong(R"({"keys":)" + std::string(15, '[') + std::string(15, ']') + "}") ==
        "keys[0]: is not an object");
  CHECK(Wrong(R"({"keys":)" + std::string(100'000, '[')) == "the key set is nested too deep");
  CHECK(Wrong("{\"keys\":[\"\xff\"]}") == "the key set is not JSON that can be read");
}

TEST_CASE("a key set: size and number of keys are bounded") {
  const std::string key = "{" + RsaMembers(Rsa()) + "}";
  std::string many = R"({"keys":[)" + key;
  for (int i = 1; i < 256; ++i) many += R"(,{"kty":"oct"})";
  CHECK(Wrong(many + "]}").empty());
  CHECK(Wrong(many + R"(,{"kty":"oct"}]})") == "the key set has more than 256 keys");
  const std::string good = R"({"keys":[)" + key + "]}";
  const std::size_t left = (std::size_t{1} << 20) - good.size();
  CHECK(Wrong(good + std::string(left, ' ')).empty());
  CHECK(Wrong(good + std::string(left + 1, ' ')) == "the key set is larger than 1 MiB");
  const auto with_kid = [&](std::size_t size) {
    return Document({R"("kid":")" + std::string(size, 'k') + "\"," + RsaMembers(Rsa())});
  };
  CHECK(Wrong(with_kid(1024)).empty());
  CHECK(Wrong(with_kid(1025)) == "keys[0]: \"kid\" is longer than 1 KiB");
}

TEST_CASE("a key set: a key that should be usable and is not spoils the document") {
  const auto wrong = [](const std::string& members) {
    const std::string why = Wrong(Document({R"("kty":"oct")", members}));
    REQUIRE(why.starts_with("keys[1]: "));
    return why.substr(9);
  };
  const std::string rsa = RsaMembers(Rsa());
  CHECK(wrong("") == "\"kty\" is missing");
  CHECK(wrong(R"("kty":1)") == "\"kty\" is not a text");
  CHECK(wrong(R"("kid":null,)" + rsa) == "\"kid\" is not a text");
  CHECK(wrong(R"("use":[],)" + rsa) == "\"use\" is not a text");
  CHECK(wrong(R"("alg":1,)" + rsa) == "\"alg\" is not a text");
  CHECK(wrong(R"("key_ops":"verify",)" + rsa) == "\"key_ops\" is not a list");
  CHECK(wrong(R"("kty":"RSA","e":"AQAB")") == "\"n\" is missing");
  CHECK(wrong(With(rsa, "n", "AQAB=")) == "\"n\" is not base64url without padding");
  CHECK(wrong(With(rsa, "n", "")) == "has 0 bits, not 2048 to 8192");
  CHECK(wrong(RsaMembers(testing::MakeRsa(1024))) == "has 1024 bits, not 2048 to 8192");
  const auto all_ones = [](std::size_t bytes) {
    return testing::Base64Url(std::string(bytes, '\xff'));
  };
  CHECK(Wrong(Document({With(rsa, "n", all_ones(1024))})).empty());
  CHECK(wrong(With(rsa, "n", all_ones(1025))) == "has 8200 bits, not 2048 to 8192");
  CHECK(
      wrong(With(rsa, "n", testing::Base64Url(std::string(255, '\xff') + std::string(1, '\0')))) ==
      "\"n\" is even");
  // 0, 1, 2, 65536, 2^32 + 1
  for (const char* e : {"", "AA", "AQ", "Ag", "AQAA", "AQAAAAE"}) {
    INFO(e);
    CHECK(wrong(With(rsa, "e", e)) == "\"e\" is not an odd number from 3 to 2^32");
  }
  CHECK(Wrong(Document({With(rsa, "e", "Aw")})).empty());
}

TEST_CASE("a key set: a point has to be on its curve, with coordinates of its size") {
  const std::string ec = EcMembers(P256());
  const auto wrong = [](const std::string& members) { return Wrong(Document({members})); };
  const std::string off = "keys[0]: is not a point on its curve";
  CHECK(wrong(ec).empty());
  CHECK(wrong(With(ec, "y", testing::Base64Url(std::string(32, '\1')))) == off);
  CHECK(wrong(With(ec, "x", testing::Base64Url(std::string(32, '\xff')))) == off);
  const std::string zero = testing::Base64Url(std::string(32, '\0'));
  CHECK(wrong(With(With(ec, "x", zero), "y", zero)) == off);
  CHECK(wrong(With(ec, "x", testing::Base64Url(std::string(33, '\0')))) ==
        "keys[0]: \"x\" has not the size of the curve");
  CHECK(wrong(With(EcMembers(P384()), "crv", "P-256")) ==
        "keys[0]: \"x\" has not the size of the curve");
  CHECK(wrong(With(ec, "y", "")) == "keys[0]: \"y\" has not the size of the curve");
  CHECK(wrong(R"("kty":"EC","crv":"P-256","x":")" + zero + "\"") == "keys[0]: \"y\" is missing");
  CHECK(wrong(R"("kty":"EC")") == "keys[0]: \"crv\" is missing");
}

}  // namespace
}  // namespace podmirror::trust
