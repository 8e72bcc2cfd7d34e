#include "client/daemon_names.h"

#include <catch2/catch.hpp>

#include "unit/client/certificates.h"

namespace podmirror::client {
namespace {

Options With(std::vector<std::string> names, std::vector<std::string> peers = {}) {
  Options options;
  options.peers = std::move(peers);
  options.tls.emplace().names = std::move(names);
  return options;
}

bool Accepts(const Options& options, const LeafNames& names) {
  static const Authority authority;
  const auto expected = DaemonNames::New(options);
  REQUIRE(expected.ok());
  return expected->Check(authority.Issue(names).cert).ok();
}

TEST_CASE("a daemon must carry a name that is expected") {
  struct Row {
    std::string wanted;
    std::string carried;
    bool accepted;
  };
  const auto row = GENERATE(values<Row>({
      {"a.shop.svc", "a.shop.svc", true},
      {"A.shop.svc", "a.SHOP.svc", true},
      {"a.shop.svc", "b.shop.svc", false},
      {"a.shop.svc", "a.shop.svc.evil.test", false},
      {"a.shop.svc", "x.a.shop.svc", false},
      {"*.shop.svc", "a.shop.svc", true},
      {"*.shop.svc", "*.shop.svc", true},
      {"*.shop.svc", "shop.svc", false},
      {"*.shop.svc", ".shop.svc", false},
      {"*.shop.svc", "a.b.shop.svc", false},
      {"a.*.svc", "a.shop.svc", true},
      {"a.*.svc", "a.svc", false},
      // To carry a name is to carry that name.
      {"a.shop.svc", "*.shop.svc", false},
      {"spiffe://c/ns/shop/sa/d", "spiffe://c/ns/shop/sa/d", true},
      {"spiffe://c/ns/shop/sa/d", "spiffe://c/ns/shop/sa/D", false},
      {"spiffe://c/ns/shop/sa/*", "spiffe://c/ns/shop/sa/d", true},
      {"spiffe://c/ns/*/sa/*", "spiffe://c/ns/shop/sa/d", true},
      {"spiffe://c/ns/shop/sa/*", "spiffe://c/ns/shop/sa/", false},
      {"spiffe://c/ns/shop/sa/*", "spiffe://c/ns/shop/sa/d/e", false},
      {"spiffe://c/ns/shop/sa/*", "spiffe://e/ns/shop/sa/d", false},
      {"c", "spiffe://c", false},
      {"spiffe://c", "c", false},
  }));
  CAPTURE(row.wanted, row.carried);
  const bool uri = row.carried.find("://") != std::string::npos;
  LeafNames leaf;
  (uri ? leaf.uris : leaf.dns) = {"other.test", row.carried};
  if (uri) leaf.uris[0] = "spiffe://other/x";
  CHECK(Accepts(With({"nobody.test", row.wanted}), leaf) == row.accepted);
}

TEST_CASE("what only looks like an expected name is none") {
  const Options dns = With({"a.shop.svc"});
  CHECK_FALSE(Accepts(dns, {.dns = {std::string("a.shop.svc\0.evil.test", 21)}}));
  CHECK_FALSE(Accepts(dns, {.dns = {std::string("a.shop.svc\0", 11)}}));
  CHECK_FALSE(Accepts(dns, {.dns = {"a.shop.svc "}}));
  CHECK_FALSE(Accepts(dns, {.uris = {"a.shop.svc"}}));
  CHECK_FALSE(Accepts(dns, {.common_name = "a.shop.svc"}));
  CHECK_FALSE(Accepts(With({"spiffe://c/d"}), {.dns = {"spiffe://c/d"}}));
  const auto expected = DaemonNames::New(dns);
  REQUIRE(expected.ok());
  CHECK_FALSE(expected->Check("").ok());
  CHECK_FALSE(expected->Check("a.shop.svc").ok());
}

TEST_CASE("without names the certificate is for the host that is dialled") {
  const Options dialled = With({}, {"cache.shop.svc:7071", "Other.test.:7071"});
  CHECK(Accepts(dialled, {.dns = {"cache.shop.svc"}}));
  CHECK(Accepts(dialled, {.dns = {"x.test", "other.test"}}));
  CHECK(Accepts(dialled, {.dns = {"*.shop.svc"}}));
  CHECK_FALSE(Accepts(dialled, {.dns = {"*.svc"}}));
  CHECK_FALSE(Accepts(dialled, {.dns = {"*.*.svc"}}));
  CHECK_FALSE(Accepts(dialled, {.dns = {"cach*.shop.svc"}}));
  CHECK_FALSE(Accepts(dialled, {.dns = {"shop.svc"}}));
  CHECK_FALSE(Accepts(dialled, {.dns = {std::string("cache.shop.svc\0.evil.test", 25)}}));
  CHECK_FALSE(Accepts(dialled, {.common_name = "cache.shop.svc"}));
  // Names replace it.
  CHECK_FALSE(Accepts(With({"a.test"}, {"cache.shop.svc:7071"}), {.dns = {"cache.shop.svc"}}));
}

TEST_CASE("there is always a name") {
  for (const Options& options :
       {With({}), With({}, {"10.0.0.1:7071"}), With({}, {"a.test:7071", "[fd00::1]:7071"})}) {
    const auto names = DaemonNames::New(options);
    CHECK(names.status().code() == Code::kInvalid);
    CHECK(names.status().message().starts_with("tls.names: needed"));
  }
  for (const char* peer : {"nonsense", ".test:1", "*.test:1", "..:1"}) {
    CHECK(DaemonNames::New(With({}, {peer})).status().message().starts_with("peers: "));
  }
  for (const char* name : {"", "*", "*.*", "a b", "a..b", ".a", "a.", "a*.b", "spiffe://", "://c",
                           "spiffe:///x", "spiffe://*/x", "spiffe://c/a*", "*://c/x"}) {
    CAPTURE(name);
    const auto names = DaemonNames::New(With({"good.test", name}));
    CHECK(names.status().code() == Code::kInvalid);
    CHECK(names.status().message().starts_with("tls.names: "));
  }
}

TEST_CASE("the name of one host is asked for") {
  const auto asked = [](const Options& options) { return DaemonNames::New(options)->ServerName(); };
  CHECK(asked(With({"spiffe://c/d", "*.test", "a.test", "b.test"})) == "a.test");
  CHECK(asked(With({"spiffe://c/d", "*.test"})).empty());
  CHECK(asked(With({}, {"cache.shop.svc.:7071"})) == "cache.shop.svc");
}

TEST_CASE("a refusal says which names there are and which were expected") {
  const Authority authority;
  const auto names = DaemonNames::New(With({"a.test", "b.test"}));
  REQUIRE(names.ok());
  CHECK(names->Check(authority.Issue({}).cert).message() ==
        "no matching name in the daemon's certificate: it carries none; expected a.test, b.test");
  CHECK(names->Check(authority.Issue({.dns = {"1", "2", "3", "4"}}).cert).message() ==
        "no matching name in the daemon's certificate: it carries 1, 2, 3, ...; expected a.test, "
        "b.test");
}

}  // namespace
}  // namespace podmirror::client
