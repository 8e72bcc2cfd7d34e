#include <catch2/catch.hpp>
#include <limits>
#include <string>

#include "trust/jwt.h"
#include "unit/trust/token_testing.h"

namespace podmirror::trust {
namespace {

using namespace testing;

TEST_CASE("a token is refused whose issuer or audience is another") {
  const auto wrong = [](const std::string& members) {
    return Wrong(TokenBy("RS256", R"({"sub":"app","exp":1796000300)" + members + "}"));
  };
  CHECK(wrong(R"(,"iss":"https://evil","aud":"podmirror")") ==
        R"(its issuer is "https://evil", not "https://issuer")");
  CHECK(wrong(R"(,"iss":"https://issuer\u0000","aud":"podmirror")") ==
        R"(its issuer is "https://issuer\x00", not "https://issuer")");
  CHECK(wrong(R"(,"iss":"https://issuer/","aud":"podmirror")") != "");
  CHECK(wrong(R"(,"iss":["https://issuer"],"aud":"podmirror")") ==
        "its payload is wrong: \"iss\" is not a text");
  CHECK(wrong(R"(,"aud":"podmirror")") == "it has no \"iss\"");
  CHECK(wrong(R"(,"iss":"https://issuer")") == "it has no \"aud\"");
  CHECK(wrong(R"(,"iss":"https://issuer","aud":"other")") == "its audience is not podmirror");
  CHECK(wrong(R"(,"iss":"https://issuer","aud":["other","Podmirror"])") ==
        "its audience is not podmirror");
  CHECK(wrong(R"(,"iss":"https://issuer","aud":[])") == "its audience is not podmirror");
  for (const char* aud : {"1", "null", "{}", R"(["podmirror",1])", R"([["podmirror"]])"}) {
    CHECK(wrong(R"(,"iss":"https://issuer","aud":)" + std::string(aud)) ==
          "its \"aud\" is not a text or a list of texts");
  }
  CHECK(wrong(R"(,"iss":"https://issuer","aud":["other","podmirror"])").empty());
  const std::string escaped = "\"" + std::string(4000, 'a') + "\\n\"";
  CHECK(wrong(R"(,"aud":"podmirror","iss":)" + escaped) ==
        "its issuer is \"" + std::string(97, 'a') + "...\", not \"https://issuer\"");
}

TEST_CASE("a token is refused that has no subject") {
  for (const char* payload :
       {R"({"iss":"https://issuer","aud":"podmirror","exp":1796000300})",
        R"({"iss":"https://issuer","aud":"podmirror","exp":1796000300,"sub":""})"}) {
    CHECK(Wrong(TokenBy("RS256", payload)) == "it names no subject in \"sub\"");
  }
  CHECK(Wrong(TokenBy("RS256",
                      R"({"iss":"https://issuer","aud":"podmirror","exp":1796000300,"sub":7})")) ==
        "its payload is wrong: \"sub\" is not a text");
}

TEST_CASE("a token is taken in its time, and 30 s around it") {
  const auto at = [](const std::string& claims, WallMs now) {
    return Wrong(WithClaims(claims), AllKeys(), now);
  };
  CHECK(at(R"("exp":1796000000)", kNow + 29'999).empty());
  CHECK(at(R"("exp":1796000000)", kNow + 30'000) == "it expired 2026-11-30T00:53:20Z");
  CHECK(at(R"("exp":1796000000.5)", kNow + 30'499).empty());
  CHECK(at(R"("exp":1796000000.5)", kNow + 30'500) == "it expired 2026-11-30T00:53:20Z");
  for (const char* claim : {"nbf", "iat"}) {
    const std::string claims = R"("exp":1796009999,")" + std::string(claim) + "\":1796000000";
    CHECK(at(claims, kNow - 30'000).empty());
    CHECK(at(claims, kNow - 30'001).find("2026-11-30T00:53:20Z") != std::string::npos);
    CHECK(at(R"("exp":1796009999,")" + std::string(claim) + R"(":"x")", kNow) ==
          "its \"" + std::string(claim) + "\" is not a time in seconds");
  }
  CHECK(at(R"("exp":1796000000,"nbf":1796000100)", kNow) ==
        "it is not valid before 2026-11-30T00:55:00Z");
  CHECK(at(R"("nbf":1)", kNow) == "it has no \"exp\"");
  CHECK(at(R"("exp":1796000000)", std::numeric_limits<WallMs>::max()) != "");
  CHECK(at(R"("exp":1796000000,"nbf":0)", std::numeric_limits<WallMs>::min()) != "");
}

TEST_CASE("a token is refused whose expiry is no time") {
  for (const char* exp :
       {"-1", "\"1796000300\"", "null", "true", "[1796000300]", "1e300", "253402300800",
        "18446744073709551615", "-9223372036854775808", "1796000300000000000000000000"}) {
    INFO(exp);
    CHECK(Wrong(WithClaims(R"("exp":)" + std::string(exp))) ==
          "its \"exp\" is not a time in seconds");
  }
  for (const char* exp : {"1e400", "-1e400", "NaN", "Infinity", "01796000300", "0x6B0CC2AC"}) {
    INFO(exp);
    CHECK(Wrong(WithClaims(R"("exp":)" + std::string(exp))) ==
          "its payload is not JSON that can be read");
  }
  CHECK(Wrong(WithClaims(R"("exp":1.7960003e9)")).empty());
}

TEST_CASE("header and payload are JSON objects that can be read in one way only") {
  CHECK(Wrong(WithHeader(R"({"alg":"RS256","alg":"none"})")) == "its header names a member twice");
  CHECK(Wrong(WithHeader(R"({"alg":"RS256","\u0061lg":"RS256"})")) ==
        "its header names a member twice");
  CHECK(Wrong(WithClaims(R"("exp":1796000300,"sub":"root")")) ==
        "its payload names a member twice");
  CHECK(Wrong(WithClaims(R"("exp":1796000300,"x":[{"a":1,"b":{"a":1},"a":1}])")) ==
        "its payload names a member twice");
  CHECK(Wrong(WithClaims(R"("exp":1796000300,"x":[{"a":1,"b":{"a":1}},{"a":1}])")).empty());
  const auto nested = [](std::size_t levels) {
    return WithClaims(R"("exp":1796000300,"x":)" + std::string(levels, '[') +
                      std::string(levels, ']'));
  };
  CHECK(Wrong(nested(15)).empty());
  CHECK(Wrong(nested(16)) == "its payload is nested too deep");
  CHECK(Wrong(nested(5000)) == "its payload is nested too deep");
  CHECK(Wrong(WithHeader(std::string(10'000, '['))) == "its header is nested too deep");
  for (const char* header : {"", "{", "null x", "{\"alg\":\"\xff\"}", "{\"alg\":\"\\ud800\"}"}) {
    CHECK(Wrong(WithHeader(header)) == "its header is not JSON that can be read");
  }
  for (const char* header : {"[]", "\"RS256\"", "null", "1"}) {
    CHECK(Wrong(WithHeader(header)) == "its header is not an object");
  }
  const std::string nul = kPayload + std::string(1, '\0');
  CHECK(Wrong(TokenBy("RS256", nul)) == "its payload is not JSON that can be read");
  CHECK(Wrong(TokenBy("RS256", "[]")) == "its payload is not an object");
  CHECK(Wrong(WithHeader(R"({"alg":"RS256","crit":["b64"]})")) ==
        "its header asks for an extension by \"crit\"");
  CHECK(Wrong(WithHeader(R"({"alg":"RS256","b64":true})")) ==
        "its header asks for an extension by \"b64\"");
}

TEST_CASE("a message shows what the header says as one short line") {
  CHECK(Wrong(WithHeader(R"({"alg":"a\n\u001b[31m\u00e9"})")) ==
        R"(alg a\n\x1b[31m\xc3\xa9 is not taken)");
  const std::string why = Wrong(WithHeader(R"({"alg":")" + std::string(5000, 'x') + "\"}"));
  CHECK(why == "alg " + std::string(97, 'x') + "... is not taken");
}

}  // namespace
}  // namespace podmirror::trust
