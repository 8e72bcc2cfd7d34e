#include "trust/name_pattern.h"

#include <catch2/catch.hpp>
#include <string>

namespace podmirror::trust {
namespace {

bool Matches(const std::string& pattern, const Names& names) {
  const auto parsed = NamePattern::Parse(pattern);
  REQUIRE(parsed.ok());
  return parsed->Matches(names);
}

bool MatchesUri(const std::string& pattern, const std::string& uri) {
  return Matches(pattern, {.common_name = "", .uris = {"urn:x", uri}, .dns = {}});
}

bool MatchesDns(const std::string& pattern, const std::string& name) {
  return Matches(pattern, {.common_name = "", .uris = {}, .dns = {"x.y", name}});
}

TEST_CASE("a URI is matched segment by segment") {
  CHECK(MatchesUri("spiffe://a.b/ns/shop/sa/web", "spiffe://a.b/ns/shop/sa/web"));
  CHECK(MatchesUri("spiffe://a.b/ns/*/sa/web", "spiffe://a.b/ns/shop/sa/web"));
  CHECK(MatchesUri("spiffe://a.b/*", "spiffe://a.b/x"));
  CHECK_FALSE(MatchesUri("spiffe://a.b/*", "spiffe://a.b/x/y"));
  CHECK_FALSE(MatchesUri("spiffe://a.b/*", "spiffe://a.b/"));
  CHECK_FALSE(MatchesUri("spiffe://a.b/*", "spiffe://a.b"));
  CHECK_FALSE(MatchesUri("spiffe://a.b/ns/*/sa/web", "spiffe://a.b/ns/shop/sa/web/x"));
  CHECK_FALSE(MatchesUri("spiffe://a.b/ns/shop", "spiffe://a.b/ns/Shop"));
  CHECK_FALSE(MatchesUri("spiffe://a.b/web", "https://a.b/web"));
  // A path must not be shifted into the authority.
  CHECK_FALSE(MatchesUri("spiffe://a.b/*/web", "spiffe://a.b.evil/web"));
}

TEST_CASE("a DNS name is matched label by label, in any case") {
  CHECK(MatchesDns("Web.Shop.svc", "web.shop.svc"));
  CHECK(MatchesDns("*.shop.svc", "web.shop.svc"));
  CHECK_FALSE(MatchesDns("*.shop.svc", "a.web.shop.svc"));
  CHECK_FALSE(MatchesDns("*.shop.svc", "shop.svc"));
  CHECK_FALSE(MatchesDns("*.shop.svc", ".shop.svc"));
  CHECK_FALSE(MatchesDns("web.shop.svc", "web.shop.svc.evil.org"));
  CHECK_FALSE(MatchesDns("web.shop.svc", "xweb.shop.svc"));
}

TEST_CASE("a name of one kind is not one of the other, and a common name is neither") {
  CHECK_FALSE(Matches("a.b", {.common_name = "a.b", .uris = {"a.b"}, .dns = {}}));
  CHECK_FALSE(Matches("spiffe://a/b", {.common_name = "spiffe://a/b", .uris = {}, .dns = {"a"}}));
}

TEST_CASE("what is no name is refused") {
  for (const char* text : {"",
                           "10.0.0.1",
                           "::1",
                           "[::1]",
                           "a b",
                           "a..b",
                           "a.b.",
                           ".a",
                           "://x",
                           "spiffe:///x",
                           "spiffe://a.b/sh*",
                           "spiffe://*/web",
                           "*://a/b",
                           "spiffe://",
                           "a*.b",
                           "*",
                           "*.*",
                           "a/b",
                           "\x01",
                           "\xc3\xa4.b"}) {
    INFO(text);
    CHECK_FALSE(NamePattern::Parse(text).ok());
  }
  CHECK_FALSE(NamePattern::Parse(std::string(3000, 'a')).ok());
  CHECK(ParseNamePatterns({"a.b", "10.0.0.1"}).status().message().starts_with("\"10.0.0.1\" "));
}

}  // namespace
}  // namespace podmirror::trust
