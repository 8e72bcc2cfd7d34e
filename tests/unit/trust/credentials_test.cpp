#include "trust/credentials.h"

#include <openssl/err.h>

#include <catch2/catch.hpp>
#include <string>

#include "certs/test_certs.h"
#include "trust/presented.h"

namespace podmirror::trust {
namespace {

using testing::TestAuthority;

const WallMs kNow = Env::Real().now().wall;
constexpr WallMs kDayMs = 24 * 3'600'000;

const TestAuthority& Ours() {
  static const TestAuthority authority("ours");
  return authority;
}
const TestAuthority& Theirs() {
  static const TestAuthority authority("theirs");
  return authority;
}

std::shared_ptr<const Credentials> CredentialsOf(const TestAuthority::Wanted& own,
                                                 const std::vector<std::string>& peers = {}) {
  const auto leaf = Ours().IssueFor(own);
  auto made = Credentials::Check({leaf.cert, leaf.key, Ours().pem()},
                                 std::move(*ParseNamePatterns(peers)), 1, kNow);
  INFO(made.status().ToString());
  REQUIRE(made.ok());
  return *made;
}

CertificateChain ChainOf(const TestAuthority::Leaf& leaf) {
  auto chain = CertificateChain::Parse(leaf.cert);
  REQUIRE(chain.ok());
  return *chain;
}

std::string Verdict(const TestAuthority& signer, const TestAuthority::Wanted& wanted,
                    Credentials::Use use = Credentials::Use::kClient) {
  const auto credentials = CredentialsOf({.common_name = "own", .names = "DNS:a.b"});
  const Status status = credentials->Verify(ChainOf(signer.IssueFor(wanted)), use, kNow);
  CHECK(ERR_peek_error() == 0);
  CHECK((status.ok() || status.code() == Code::kRefused));
  return status.message();
}

std::string Refusal(const PemFiles& pem, WallMs now = kNow) {
  const auto made = Credentials::Check(pem, {}, 1, now);
  REQUIRE_FALSE(made.ok());
  CHECK(made.status().code() == Code::kInvalid);
  CHECK(ERR_peek_error() == 0);
  return made.status().message();
}

TEST_CASE("a chain is believed when an authority has signed it for that use and now") {
  CHECK(Verdict(Ours(), {.common_name = "x"}).empty());
  CHECK(Verdict(Theirs(), {.common_name = "x"}) == "no authority in tls-ca has signed it");
  CHECK(Verdict(Ours(), {.common_name = "x", .until_s = -60}).starts_with("it expired 2"));
  CHECK(Verdict(Ours(), {.common_name = "x", .from_s = 60}).starts_with("it is valid only from 2"));
  CHECK(Verdict(Ours(), {.common_name = "x", .usage = "serverAuth"}) ==
        "it was issued for another use");
  CHECK(Verdict(Ours(), {.common_name = "x", .usage = "serverAuth"}, Credentials::Use::kServer)
            .empty());
  CHECK(Verdict(Ours(), {.common_name = "x", .usage = "clientAuth"}, Credentials::Use::kServer) ==
        "it was issued for another use");
}

TEST_CASE("a certificate that signs itself, and one of an authority of the same name") {
  const auto credentials = CredentialsOf({.common_name = "own", .names = "DNS:a.b"});
  const auto itself = CertificateChain::Parse(Theirs().pem());
  REQUIRE(itself.ok());
  CHECK(credentials->Verify(*itself, Credentials::Use::kClient, kNow).message() ==
        "it is signed by itself");
  const TestAuthority impostor("ours");
  CHECK(Verdict(impostor, {.common_name = "x"}) == "no authority in tls-ca has signed it");
}

TEST_CASE("without tls-ca nobody is believed") {
  const auto leaf = Ours().Issue("own");
  const auto alone = Credentials::Check({leaf.cert, leaf.key, ""}, {}, 1, kNow);
  REQUIRE(alone.ok());
  CHECK((*alone)->Verify(ChainOf(leaf), Credentials::Use::kClient, kNow).code() == Code::kRefused);
}

TEST_CASE("a connection outlives its certificate, but not its authority") {
  const auto credentials = CredentialsOf({.common_name = "own", .names = "DNS:a.b"});
  const auto chain =
      ChainOf(Ours().IssueFor({.common_name = "x", .names = "DNS:a.b", .until_s = 60}));
  const Presented presented(chain, Credentials::Use::kClient, *credentials, kNow);
  CHECK(presented.CheckPeer(*credentials).ok());
  CHECK(credentials->Verify(chain, Credentials::Use::kClient, kNow + kDayMs / 2)
            .message()
            .starts_with("it expired"));
  CHECK(credentials->Verify(chain, Credentials::Use::kClient, std::nullopt).ok());

  const auto own = Theirs().IssueFor({.common_name = "own", .names = "DNS:a.b"});
  const auto replaced = Credentials::Check({own.cert, own.key, Theirs().pem()}, {}, 2, kNow);
  REQUIRE(replaced.ok());
  CHECK(presented.CheckPeer(**replaced).message() ==
        "its certificate is refused: no authority in tls-ca has signed it");
  const auto both =
      Credentials::Check({own.cert, own.key, Theirs().pem() + Ours().pem()}, {}, 3, kNow);
  REQUIRE(both.ok());
  const Presented again(chain, Credentials::Use::kClient, *credentials, kNow);
  CHECK(again.CheckPeer(**both).ok());
  // The wrong authorities were a slip.
  CHECK(presented.CheckPeer(**both).ok());

  // What had expired when it was presented is not believed later on, either.
  const Presented late(chain, Credentials::Use::kClient, *credentials, kNow + kDayMs / 2);
  CHECK_FALSE(late.Check(*credentials).ok());
  CHECK_FALSE(late.Check(**both).ok());
}

TEST_CASE("a peer carries a name that our own certificate carries, or one that is set") {
  const auto check = [](const std::string& names, const std::vector<std::string>& peers) {
    const auto credentials = CredentialsOf(
        {.common_name = "own", .names = "DNS:pods.shop.svc,URI:spiffe://a/web,IP:127.0.0.1"},
        peers);
    const Presented presented(
        ChainOf(Ours().IssueFor({.common_name = "pods.shop.svc", .names = names})),
        Credentials::Use::kClient, *credentials, kNow);
    REQUIRE(presented.Check(*credentials).ok());
    return presented.CheckPeer(*credentials);
  };
  CHECK(check("DNS:pods.shop.svc", {}).ok());
  CHECK(check("DNS:x.y,URI:spiffe://a/web", {}).ok());
  CHECK(check("IP:127.0.0.1", {}).message() ==
        "its certificate is not that of a peer: it carries neither a URI nor a DNS name");
  CHECK(check("DNS:127.0.0.1", {}).code() == Code::kRefused);
  CHECK(check("email:pods.shop.svc", {}).code() == Code::kRefused);
  CHECK(check("URI:spiffe://a/other,DNS:c.d", {}).message() ==
        "its certificate is not that of a peer: it carries spiffe://a/other, c.d");
  CHECK(check("URI:spiffe://a/other", {"spiffe://a/*"}).ok());
  CHECK_FALSE(check("DNS:pods.shop.svc", {"spiffe://a/*"}).ok());
}

TEST_CASE("what cannot be used is refused, and names its setting") {
  const auto leaf = Ours().Issue("own");
  const auto other = Ours().Issue("other");
  const std::string ca = Ours().pem();
  CHECK(Refusal({"", leaf.key, ca}) == "tls-cert: holds no certificate in PEM");
  CHECK(Refusal({leaf.cert.substr(0, 200), leaf.key, ca}).starts_with("tls-cert: "));
  CHECK(Refusal({leaf.cert, "", ca}) == "tls-key: holds no private key that can be read");
  CHECK(Refusal({leaf.cert, leaf.key.substr(0, 60), ca}).starts_with("tls-key: holds no private"));
  CHECK(Refusal({leaf.cert, other.key, ca}) == "tls-key: is not the key of the certificate");
  CHECK(Refusal({leaf.cert, leaf.key, "x"}) == "tls-ca: holds no certificate in PEM");
  CHECK(Refusal({leaf.cert, leaf.key, ca}, kNow + 3 * kDayMs).starts_with("tls-cert: expired 2"));
  CHECK(Refusal({leaf.cert, leaf.key, ca}, kNow - 3 * kDayMs)
            .starts_with("tls-cert: is valid only from 2"));
}

TEST_CASE("key and certificate may be in one file, in any order") {
  const auto leaf = Ours().Issue("own");
  for (const std::string& file : {leaf.cert + leaf.key, leaf.key + leaf.cert}) {
    CHECK(Credentials::Check({file, file, Ours().pem()}, {}, 1, kNow).ok());
  }
}

TEST_CASE("a name that could be read in two ways is no name") {
  const auto names = ChainOf(Ours().IssueFor({.common_name = "x", .names = "DNS:a.b"})).names();
  CHECK(names.dns == std::vector<std::string>{"a.b"});
  CHECK(names.common_name == "x");
  CHECK(ChainOf(Ours().IssueFor({.common_name = "x\ny", .names = "DNS:A.b"})).names().common_name ==
        "");
  CHECK(ChainOf(Ours().IssueFor({.common_name = "x", .names = "DNS:A.B"})).names().dns ==
        std::vector<std::string>{"a.b"});
}

}  // namespace
}  // namespace podmirror::trust
