#include "trust/jwt.h"

#include <openssl/hmac.h>
#include <openssl/pem.h>

#include <catch2/catch.hpp>
#include <string>
#include <vector>

#include "unit/trust/token_testing.h"

// Form, algorithms, keys and signatures of tokens; their claims are in jwt_claims_test.cpp.
namespace podmirror::trust {
namespace {

using namespace testing;

TEST_CASE("a token is taken by every algorithm") {
  for (const char* alg : {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384"}) {
    INFO(alg);
    const Result<Claims> claims = Verify(TokenBy(alg));
    REQUIRE(claims.ok());
    CHECK(claims->subject == "app");
    CHECK(claims->expires == 1'796'000'300'000);
    CHECK(claims->texts.at("groups") == std::vector<std::string>{"a", "b"});
    CHECK(claims->texts.at("aud") == std::vector<std::string>{"podmirror"});
    CHECK(claims->texts.count("exp") == 0);
  }
}

TEST_CASE("the samples of RFC 7515 fit their keys") {
  const std::string payload =
      ".eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnV"
      "l"
      "fQ.";
  const std::string rs256 = "eyJhbGciOiJSUzI1NiJ9" + payload +
                            "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7"
                            "AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4"
                            "BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K"
                            "0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqv"
                            "hJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrB"
                            "p0igcN_IoypGlUPQGe77Rw";
  const std::string es256 = "eyJhbGciOiJFUzI1NiJ9" + payload +
                            "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSA"
                            "pmWQxfKTUJqPP3-Kg6NU1Q";
  const auto keys = Keys(
      {R"("kty":"RSA","e":"AQAB","n":")"
       "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0"
       "Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXnd"
       "S5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJ"
       "H7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ\"",
       R"("kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",)"
       R"("y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0")"});
  for (const std::string& token : {rs256, es256}) {
    // They name no audience, which is looked at only once the signature fits.
    const TokenRules joe{.issuer = "joe", .audience = "podmirror"};
    CHECK(Verify(token, *keys, joe, 1'300'819'000'000).status().message() == "it has no \"aud\"");
    std::string altered = token;
    altered[30] = altered[30] == 'A' ? 'B' : 'A';
    CHECK(Verify(altered, *keys, joe).status().message().find("does not fit the key") !=
          std::string::npos);
  }
}

TEST_CASE("a token is refused without a signature, or by an algorithm that is no signature") {
  const std::string none = Signable(R"({"alg":"none"})", kPayload);
  CHECK(Wrong(none + ".") == "alg none is not taken");
  CHECK(Wrong(none + "." + Base64Url(Signature(Rsa(), "RS256", none))) == "alg none is not taken");
  for (const char* alg : {"None", "NONE", "nOnE", "", "rs256", "HS256", "RS256\\u0000"}) {
    INFO(alg);
    const std::string why = Wrong(WithHeader(R"({"alg":")" + std::string(alg) + "\"}"));
    CHECK(why.ends_with(" is not taken"));
  }
  CHECK(Wrong(WithHeader(R"({"typ":"JWT"})")) == "its header has no \"alg\"");
  CHECK(Wrong(WithHeader(R"({"alg":["RS256"]})")) == "its header is wrong: \"alg\" is not a text");
  CHECK(Wrong(Signable(R"({"alg":"RS256"})", kPayload) + ".").ends_with("does not fit the key"));
}

std::string Hmac(std::string_view secret, const std::string& text) {
  std::string mac(32, '\0');
  unsigned size = 0;
  HMAC(EVP_sha256(), secret.data(), static_cast<int>(secret.size()),
       reinterpret_cast<const unsigned char*>(text.data()), text.size(),
       reinterpret_cast<unsigned char*>(mac.data()), &size);
  return mac;
}

TEST_CASE("a token is refused that is authenticated with what everybody knows") {
  BIO* bio = BIO_new(BIO_s_mem());
  REQUIRE(PEM_write_bio_PUBKEY(bio, Rsa().get()) == 1);
  char* data = nullptr;
  const auto size = static_cast<std::size_t>(BIO_get_mem_data(bio, &data));
  const std::string pem(data, size);
  BIO_free(bio);
  const std::string n = testing::Number(Rsa(), OSSL_PKEY_PARAM_RSA_N);
  for (const std::string& secret : {pem, n, std::string()}) {
    for (const char* alg : {"HS256", "RS256", "ES256"}) {
      const std::string text = Signable(R"({"alg":")" + std::string(alg) + "\"}", kPayload);
      CHECK(Wrong(text + "." + Base64Url(Hmac(secret, text))) != "");
    }
  }
}

TEST_CASE("the algorithm has to be the one of the key") {
  // Signed as the header says, by a key that is not for it.
  CHECK(Wrong(TokenBy("RS256"), *Keys({EcMembers(P256())})) == "no key is for RS256");
  CHECK(Wrong(TokenBy("ES256"), *Keys({EcMembers(P384())})) == "no key is for ES256");
  CHECK(Wrong(TokenBy("ES384"), *Keys({EcMembers(P256())})) == "no key is for ES384");
  const auto bound = Keys({R"("kid":"r","alg":"PS256",)" + RsaMembers(Rsa())});
  CHECK(Wrong(TokenBy("RS256"), *bound) == "no key is for RS256");
  CHECK(Wrong(WithHeader(R"({"alg":"RS256","kid":"r"})"), *bound) ==
        "the key with its kid is not for RS256");
  CHECK(Wrong(TokenBy("PS256"), *bound).empty());
  // Signed by another algorithm than the header says.
  CHECK(Wrong(Sign(Rsa(), "PS256", R"({"alg":"RS256"})", kPayload)) ==
        "its signature by RS256 does not fit the key");
  CHECK(Wrong(Sign(Rsa(), "RS256", R"({"alg":"RS512"})", kPayload)) ==
        "its signature by RS512 does not fit the key");
  CHECK(Wrong(Sign(P256(), "ES256", R"({"alg":"ES384"})", kPayload)) ==
        "its signature by ES384 does not fit the key");
}

TEST_CASE("a key is for signatures only") {
  const auto keys = Keys({R"("kid":"r","use":"enc",)" + RsaMembers(Rsa()), EcMembers(P256())});
  CHECK(Wrong(TokenBy("RS256"), *keys) == "no key is for RS256");
  CHECK(Verify(WithHeader(R"({"alg":"RS256","kid":"r"})"), *keys).status().code() ==
        Code::kNotFound);
}

TEST_CASE("a token with a kid is for the keys that have it") {
  CHECK(Wrong(WithHeader(R"({"alg":"RS256","kid":"r"})")).empty());
  CHECK(Wrong(WithHeader(R"({"alg":"RS256","kid":"p"})")) ==
        "the key with its kid is not for RS256");
  CHECK(Wrong(WithHeader(R"({"alg":"RS256","kid":1})")) ==
        "its header is wrong: \"kid\" is not a text");
  for (const char* kid : {"", "R", "r ", "r\\u0000"}) {
    const Result<Claims> claims =
        Verify(WithHeader(R"({"alg":"RS256","kid":")" + std::string(kid) + "\"}"));
    REQUIRE_FALSE(claims.ok());
    CHECK(claims.status().code() == Code::kNotFound);
    CHECK(claims.status().message() == "no key has the kid of this token");
  }
  const SigningKey other = testing::MakeEc("P-256");
  const auto keys = Keys({R"("kid":"x",)" + EcMembers(other), R"("kid":"y",)" + EcMembers(P256())});
  CHECK(Wrong(Sign(P256(), "ES256", R"({"alg":"ES256","kid":"x"})", kPayload), *keys) ==
        "its signature by ES256 does not fit the key");
  const auto twice =
      Keys({R"("kid":"x",)" + EcMembers(other), R"("kid":"x",)" + EcMembers(P256())});
  CHECK(Wrong(Sign(P256(), "ES256", R"({"alg":"ES256","kid":"x"})", kPayload), *twice).empty());
}

TEST_CASE("without a kid the first 16 keys for the algorithm are tried") {
  std::string many;
  for (int i = 0; i < 16; ++i) many += "{" + EcMembers(testing::MakeEc("P-256")) + "},";
  const std::string good = "{" + EcMembers(P256()) + "}";
  const auto after_16 = KeySet::Parse(R"({"keys":[)" + many + good + "]}");
  const auto after_15 =
      KeySet::Parse(R"({"keys":[)" + many.substr(many.find('}') + 2) + good + "]}");
  REQUIRE(after_16.ok());
  REQUIRE(after_15.ok());
  CHECK(Wrong(TokenBy("ES256"), **after_15).empty());
  CHECK(Wrong(TokenBy("ES256"), **after_16) == "its signature by ES256 does not fit the key");
}

TEST_CASE("a token is refused that was altered") {
  for (const char* alg : {"RS256", "PS256", "ES256"}) {
    INFO(alg);
    const std::string fits = "its signature by " + std::string(alg) + " does not fit the key";
    const std::string token = TokenBy(alg);
    const std::string other = TokenBy(alg, R"({"iss":"https://issuer"})");
    CHECK(Wrong(token.substr(0, token.rfind('.')) + other.substr(other.rfind('.'))) == fits);
    const std::string signature = token.substr(token.rfind('.'));
    const std::string root =
        R"({"iss":"https://issuer","aud":"podmirror","sub":"root","exp":1796000300})";
    CHECK(Wrong(Signable(R"({"alg":")" + std::string(alg) + "\"}", root) + signature) == fits);
    CHECK(Wrong(Signable(R"({ "alg":")" + std::string(alg) + "\"}", kPayload) + signature) == fits);
  }
}

TEST_CASE("a signature has one form only") {
  const std::string text = Signable(R"({"alg":"ES256"})", kPayload);
  const auto es256 = [&](const std::string& signature) {
    return Wrong(text + "." + Base64Url(signature));
  };
  const std::string unfit = "its signature by ES256 does not fit the key";
  const std::string raw = Signature(P256(), "ES256", text);
  CHECK(es256(raw).empty());
  CHECK(es256(Signature(P256(), "ES256", text, testing::Form::kDer)) == unfit);
  CHECK(es256(std::string(32, '\0') + raw.substr(32)) == unfit);
  CHECK(es256(raw.substr(0, 32) + std::string(32, '\0')) == unfit);
  CHECK(es256(std::string(64, '\0')) == unfit);
  CHECK(es256(std::string(64, '\xff')) == unfit);
  CHECK(es256(raw.substr(0, 63)) == unfit);
  CHECK(es256(std::string(1, '\0') + raw.substr(0, 32) + std::string(1, '\0') + raw.substr(32)) ==
        unfit);

  const std::string by_rsa = Signature(Rsa(), "RS256", Signable(R"({"alg":"RS256"})", kPayload));
  CHECK(Wrong(Signable(R"({"alg":"RS256"})", kPayload) + "." +
              Base64Url(std::string(1, '\0') + by_rsa)) != "");
  const std::string pss = Signable(R"({"alg":"PS256"})", kPayload);
  for (const int salt : {0, 20, RSA_PSS_SALTLEN_MAX}) {
    CHECK(Wrong(pss + "." + Base64Url(Signature(Rsa(), "PS256", pss, testing::Form::kRaw, salt))) ==
          "its signature by PS256 does not fit the key");
  }
  // One in 256 begins with a zero, which is a part of it.
  std::string with_zero = Signature(Rsa(), "PS256", pss);
  while (with_zero.front() != '\0') with_zero = Signature(Rsa(), "PS256", pss);
  CHECK(Wrong(pss + "." + Base64Url(with_zero)).empty());
  CHECK(Wrong(pss + "." + Base64Url(with_zero.substr(1))) ==
        "its signature by PS256 does not fit the key");
}

TEST_CASE("a token has three parts in strict base64url") {
  const std::string token = TokenBy("RS256");
  const std::string parts = "it is not three parts with dots between them";
  for (const std::string& bad :
       {std::string(), std::string("a"), token.substr(0, token.find('.')),
        token.substr(0, token.rfind('.')), token + ".", "." + token, token + ".a"}) {
    CHECK(Wrong(bad) == parts);
  }
  CHECK(Wrong("..") == "its header is not JSON that can be read");
  for (std::size_t size = 0; size < token.size(); size += 7) {
    CHECK(Wrong(token.substr(0, size)) != "");
  }
  const std::string strict = "its signature is not base64url without padding";
  CHECK(Wrong(token + "=") == strict);
  CHECK(Wrong(token + "==") == strict);
  CHECK(Wrong(token + "\n") == strict);
  CHECK(Wrong(token + " ") == strict);
  CHECK(Wrong(token + "A") == "its signature by RS256 does not fit the key");
  CHECK(Wrong(token + "AAA") == strict);
  // 256 bytes leave four bits of the last character that have to be zero.
  std::string stray = token;
  REQUIRE(std::string("AQgw").find(stray.back()) != std::string::npos);
  ++stray.back();
  CHECK(Wrong(stray) == strict);
  for (const char c : {'+', '/', '=', '.', '\0', '\x80', ' '}) {
    std::string bad = token;
    bad[bad.size() - 10] = c;
    CHECK(Wrong(bad) != "");
    bad = token;
    bad[5] = c;
    CHECK(Wrong(bad) != "");
  }
  CHECK(Wrong(std::string(64 * 1024, 'a')) == "it is longer than 16 KiB");
  const auto padded = [](std::size_t size) {
    return TokenBy("RS256", kPayload + std::string(size, ' '));
  };
  // As long as the limit, and one byte longer.
  std::size_t fill = 11'000;
  while (padded(fill + 1).size() <= 16 * 1024) ++fill;
  CHECK(padded(fill).size() > 16 * 1024 - 4);
  CHECK(Wrong(padded(fill)).empty());
  CHECK(Wrong(padded(fill + 1)) == "it is longer than 16 KiB");
}

}  // namespace
}  // namespace podmirror::trust
