#include "trust/guard.h"

#include <catch2/catch.hpp>
#include <string>
#include <vector>

#include "certs/test_certs.h"
#include "certs/test_rules.h"
#include "unit/trust/token_testing.h"

namespace podmirror::trust {
namespace {

using podmirror::testing::HexSha256;
using podmirror::testing::TestAuthority;
using podmirror::testing::TestDir;

// The clock of the sample tokens.
class FixedEnv final : public Env {
 public:
  Now now() const override { return {steady, wall}; }
  std::uint64_t Random() override { return 4; }
  SteadyMs steady = 1'000'000;
  WallMs wall = testing::kNow;
};

std::string RulesText(const std::string& role = "reader") {
  return "[[role]]\nname = \"" + role + "\"\nallow = [\"read\"]\n[[subject]]\ntoken-sha256 = \"" +
         HexSha256("secret") + "\"\nname = \"ci\"\nroles = [\"" + role +
         "\"]\n[[subject]]\njwt = {sub = \"app\"}\nname = \"shop\"\nroles = [\"" + role +
         "\"]\n[[subject]]\ncert = \"spiffe://a/b\"\nname = \"pod\"\nroles = [\"" + role + "\"]\n";
}

struct Fixture {
  Fixture() { Open(); }

  void Open() {
    auto opened =
        Guard::New(dir.Write("auth.toml", RulesText()), testing::kRules, nullptr, &keys, env);
    INFO(opened.status().ToString());
    REQUIRE(opened.ok());
    guard = std::move(*opened);
    REQUIRE(keys.Look() == Looked::kTaken);
  }
  // The name of who is known by these headers, or why nobody is.
  std::string Who(const std::vector<std::string_view>& authorizations) const {
    const auto subject = guard->Identify(authorizations, nullptr);
    if (subject.ok()) return (*subject)->name;
    CHECK(subject.status().code() == Code::kUnauthenticated);
    return "nobody: " + subject.status().message();
  }
  static std::string DocumentOf(const std::string& kid) {
    return testing::Document({"\"kid\":\"" + kid + "\"," + testing::EcMembers(testing::P256())});
  }

  TestDir dir;
  FixedEnv env;
  int woken = 0;
  Result<std::string> document = DocumentOf("p");
  TokenKeys keys{[this] { return document; }, true, [this] { ++woken; }, env};
  std::unique_ptr<Guard> guard;
};

TEST_CASE("a caller is known by one bearer token") {
  const Fixture f;
  const std::string token = "Bearer " + testing::TokenBy("ES256");
  CHECK(f.Who({"Bearer secret"}) == "ci");
  CHECK(f.Who({"bearer  secret"}) == "ci");
  CHECK(f.Who({token}) == "shop");
  CHECK(f.Who({}) == "nobody: neither a token nor a client certificate was given");
  CHECK(f.Who({"Bearer secret", "Bearer secret"}) ==
        "nobody: there is more than one Authorization");
  for (const char* wrong : {"", "secret", "Basic c2VjcmV0", "Bearer", "Bearer ", "Bearer a b",
                            "Bearersecret", "Bearer s\xc3\xa9"}) {
    CHECK(f.Who({wrong}) == "nobody: Authorization is not Bearer and a token");
  }
  CHECK(f.Who({"Bearer Secret"}) == "nobody: the token is not known");
  CHECK(f.Who({"Bearer a.b.c"}).starts_with("nobody: the token is refused: "));
  CHECK(f.Who({"Bearer " + std::string(64 * 1024, 'x')}) ==
        "nobody: the token is longer than 16 KiB");
}

TEST_CASE("a token that was taken once is refused when it has expired") {
  Fixture f;
  const std::string token = "Bearer " + testing::TokenBy("ES256");
  CHECK(f.Who({token}) == "shop");
  CHECK(f.Who({token}) == "shop");
  f.env.wall += 300'000 + 30'000;
  CHECK(f.Who({token}).starts_with("nobody: the token is refused: it expired"));
}

TEST_CASE("changed rules count at once, and wrong ones change nothing") {
  Fixture f;
  const std::string token = "Bearer " + testing::TokenBy("ES256");
  const auto roles = [&](const std::string& authorization) {
    return (*f.guard->Identify({std::string_view(authorization)}, nullptr))->roles;
  };
  CHECK(roles(token) == std::vector<std::string>{"reader"});
  CHECK(f.guard->Look() == Looked::kUnchanged);
  f.dir.Write("auth.toml", "nonsense");
  CHECK(f.guard->Look() == Looked::kRefused);
  CHECK(f.guard->Look() == Looked::kStill);
  CHECK(f.guard->error().starts_with("auth-file: "));
  CHECK(f.Who({"Bearer secret"}) == "ci");
  f.dir.Write("auth.toml", RulesText("other"));
  CHECK(f.guard->Look() == Looked::kTaken);
  CHECK(roles(token) == std::vector<std::string>{"other"});
  CHECK(roles("Bearer secret") == std::vector<std::string>{"other"});
  std::filesystem::remove(f.dir / "auth.toml");
  CHECK(f.guard->Look() == Looked::kRefused);
  CHECK(f.Who({"Bearer secret"}) == "ci");
}

TEST_CASE("an unknown key makes the keys be read again, but not too often") {
  Fixture f;
  const std::string token =
      "Bearer " +
      testing::Sign(testing::P256(), "ES256", R"({"alg":"ES256","kid":"p"})", testing::kPayload);
  f.document = Fixture::DocumentOf("other");
  f.env.steady += TokenKeys::kRefreshMs;
  CHECK(f.keys.Look() == Looked::kTaken);
  f.guard->ForgetTokens();
  CHECK(f.Who({token}).starts_with("nobody: the token is refused: no key"));
  CHECK(f.woken == 0);  // they have just been read
  CHECK(f.keys.Look() == Looked::kUnchanged);
  f.env.steady += TokenKeys::kMissedMs;
  CHECK(f.Who({token}).starts_with("nobody: the token is refused: no key"));
  CHECK(f.Who({token}).starts_with("nobody: the token is refused: no key"));
  CHECK(f.woken == 1);
  f.document = Fixture::DocumentOf("p");
  CHECK(f.keys.Look() == Looked::kTaken);
  CHECK(f.Who({token}) == "shop");
}

TEST_CASE("keys stay while their source fails") {
  Fixture f;
  const std::string token = "Bearer " + testing::TokenBy("ES256");
  f.document = Status(Code::kUnavailable, "no answer");
  f.env.steady += TokenKeys::kRefreshMs;
  CHECK(f.keys.Look() == Looked::kRefused);
  CHECK(f.keys.error() == "no answer");
  f.guard->ForgetTokens();
  CHECK(f.Who({token}) == "shop");
}

TEST_CASE("without a token the certificate counts") {
  const TestDir dir;
  const TestAuthority ours("ours");
  const TestAuthority theirs("theirs");
  const auto own = ours.Issue("own");
  const FixedEnv env;
  const auto keyring =
      Keyring::New({dir.Write("c", own.cert), dir.Write("k", own.key), dir.Write("ca", ours.pem())},
                   {}, Env::Real());
  REQUIRE(keyring.ok());
  const auto guard =
      Guard::New(dir.Write("auth.toml", RulesText()), {}, keyring->get(), nullptr, env);
  REQUIRE(guard.ok());
  const auto identify = [&](const TestAuthority& signer, std::vector<std::string_view> tokens) {
    const auto chain = CertificateChain::Parse(
        signer.IssueFor({.common_name = "x", .names = "URI:spiffe://a/b"}).cert);
    const Presented presented(*chain, Credentials::Use::kClient, *(*keyring)->current(),
                              Env::Real().now().wall);
    const auto subject = (*guard)->Identify(tokens, &presented);
    return subject.ok() ? (*subject)->name : subject.status().message();
  };
  CHECK(identify(ours, {}) == "pod");
  CHECK(identify(theirs, {}) ==
        "the client certificate is refused: no authority in tls-ca has signed it");
  CHECK(identify(ours, {"Bearer secret"}) == "ci");
  // A wrong token is not made good by a certificate.
  CHECK(identify(ours, {"Bearer wrong"}) == "the token is not known");
}

TEST_CASE("where nobody has to be known, everybody may do everything") {
  const FixedEnv env;
  const Guard guard(env);
  const auto subject = guard.Identify({"Bearer x", "Bearer y"}, nullptr);
  REQUIRE(subject.ok());
  CHECK((*subject)->permissions.AllowsAll(Verb::kAdmin));
}

}  // namespace
}  // namespace podmirror::trust
