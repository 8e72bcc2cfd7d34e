#include "rest/target.h"

#include <catch2/catch.hpp>
#include <limits>
#include <string>

#include "rest/routes.h"

namespace podmirror::rest {
namespace {

TEST_CASE("target: percent-decoding happens once and is strict") {
  std::string out;
  CHECK((PercentDecode("a%2Fb%25%41+c/", out) && out == "a/b%A+c/"));
  CHECK((PercentDecode("%252F", out) && out == "%2F"));
  CHECK((PercentDecode("%00", out) && out == std::string(1, '\0')));
  for (const char* malformed : {"%", "a%4", "%zz", "%4g", "%%41", "%-1"}) {
    CAPTURE(malformed);
    CHECK_FALSE(PercentDecode(malformed, out));
  }
}

TEST_CASE("target: types are canonical decimal int32") {
  CHECK(ParseType("0") == 0);
  CHECK(ParseType("-1") == -1);
  CHECK(ParseType("2147483647") == std::numeric_limits<std::int32_t>::max());
  CHECK(ParseType("-2147483648") == std::numeric_limits<std::int32_t>::min());
  for (const char* bad : {"", "-", "abc", "01", "+1", "-0", "-01", "1.0", " 1", "1 ", "0x1", "%31",
                          "2147483648", "-2147483649", "99999999999999999999"}) {
    CAPTURE(bad);
    CHECK_FALSE(ParseType(bad));
  }
}

TEST_CASE("target: durations have a number and a unit") {
  CHECK(ParseDurationMs("500ms") == 500);
  CHECK(ParseDurationMs("30s") == 30'000);
  CHECK(ParseDurationMs("5m") == 300'000);
  CHECK(ParseDurationMs("2h") == 7'200'000);
  CHECK(ParseDurationMs("0s") == 0);
  for (const char* bad : {"", "5", "s", "-1s", "+1s", "1.5s", "1 s", "1d", "1S", "1sec",
                          "9223372036854775807h", "99999999999999999999ms"}) {
    CAPTURE(bad);
    CHECK_FALSE(ParseDurationMs(bad));
  }
}

TEST_CASE("target: routes are found on the raw path") {
  CHECK(MatchRoute("/healthz").route == Route::kHealthz);
  CHECK(MatchRoute("/healthz/").route == Route::kNone);
  CHECK(MatchRoute("/%68ealthz").route == Route::kNone);
  CHECK(MatchRoute("").route == Route::kNone);
  CHECK(MatchRoute("/v1/cache").route == Route::kCache);
  CHECK(MatchRoute("/v1/cache/").route == Route::kCacheType);
  const RouteMatch type = MatchRoute("/v1/cache/7");
  CHECK((type.route == Route::kCacheType && type.type == "7"));
  const RouteMatch entry = MatchRoute("/v1/cache/7/a//b%2F/");
  CHECK((entry.route == Route::kCacheEntry && entry.type == "7" && entry.key == "a//b%2F/"));
  const RouteMatch empty = MatchRoute("/v1/cache/7/");
  CHECK((empty.route == Route::kCacheEntry && empty.key.empty()));
}

TEST_CASE("target: the first question mark ends the path") {
  const Target target = SplitTarget("/a?b?c");
  CHECK(target.path == "/a");
  CHECK(target.query == "b?c");
}

std::string Problems(const std::optional<Refusal>& refusal) {
  return refusal ? std::to_string(static_cast<int>(refusal->problem)) : "none";
}
std::string Problems(Problem problem) { return std::to_string(static_cast<int>(problem)); }

TEST_CASE("target: the query of a write") {
  WriteQuery query;
  REQUIRE_FALSE(ParseWriteQuery("ttl=30s&ack=m%61jority&timeout=0ms", query));
  CHECK(query.ttl_ms == 30'000);
  CHECK(query.options.ack == sync::AckLevel::kMajority);
  CHECK(query.options.timeout_ms == 0);
  for (const char* level : {"local", "one", "majority", "all"}) {
    REQUIRE_FALSE(ParseWriteQuery(std::string("ack=") + level, query));
    CHECK(sync::ToString(query.options.ack) == level);
  }
  REQUIRE_FALSE(ParseWriteQuery("", query));
  for (const char* bad : {"ttl=0s", "ttl=", "ttl", "ttl=-1s", "ttl=5", "ttl=9999999h"}) {
    CAPTURE(bad);
    CHECK(Problems(ParseWriteQuery(bad, query)) == Problems(Problem::kInvalidTtl));
  }
  for (const char* bad :
       {"ack=most", "ack=ALL", "ack=", "timeout=1", "timeout=2h", "x=1", "TTL=1s",
        "ack=all&ack=all", "ttl=1s&ttl=1s", "timeout=1s&timeout=1s", "ttl=%3", "%=1", "prefix=a"}) {
    CAPTURE(bad);
    CHECK(Problems(ParseWriteQuery(bad, query)) == Problems(Problem::kInvalidQuery));
  }
}

TEST_CASE("target: the query of a delete by prefix") {
  DeleteQuery query{.prefix = "x", .options = {sync::AckLevel::kOne, 7}};
  REQUIRE_FALSE(ParseDeleteQuery("prefix=a%26/", query));
  CHECK(query.prefix == "a&/");
  CHECK((query.options.ack == sync::AckLevel::kOne && query.options.timeout_ms == 7));
  REQUIRE_FALSE(ParseDeleteQuery("timeout=0ms&ack=all&prefix=", query));
  CHECK(query.prefix.empty());
  CHECK((query.options.ack == sync::AckLevel::kAll && query.options.timeout_ms == 0));
  REQUIRE_FALSE(ParseDeleteQuery("prefix", query));
  for (const char* bad : {"", "ack=all", "prefx=a", "prefix=a&prefix=a", "prefix=a&ack=most",
                          "prefix=a&ttl=1s", "prefix=a&limit=1", "prefix=%z"}) {
    CAPTURE(bad);
    CHECK(Problems(ParseDeleteQuery(bad, query)) == Problems(Problem::kInvalidQuery));
  }
  CHECK(ParseDeleteQuery("ack=all", query)->detail.starts_with("prefix is missing"));
}

TEST_CASE("target: the query of a listing") {
  ListQuery query;
  REQUIRE_FALSE(ParseListQuery("prefix=a%26+b&limit=10000&cursor=", query));
  CHECK(query.prefix == "a&+b");
  CHECK(query.limit == 10'000);
  CHECK(query.cursor == ListCursor{});
  CHECK_FALSE(query.keys_only);
  REQUIRE_FALSE(ParseListQuery("keys_only=true&prefix=a", query));
  CHECK(query.keys_only);
  REQUIRE_FALSE(ParseListQuery("keys_only=false", query));
  CHECK_FALSE(query.keys_only);
  for (const char* bad :
       {"keys_only", "keys_only=", "keys_only=1", "keys_only=TRUE", "keys_only=true&keys_only=true",
        "limit=0", "limit=10001", "limit=-1", "limit=", "limit=1x", "cursor=x", "cursor=10000",
        "cursor=1-", "cursor=-1", "cursor=1-2-3", "cursor=1-10000000000000000", "ttl=1s",
        "limit=1&limit=1"}) {
    CAPTURE(bad);
    CHECK(Problems(ParseListQuery(bad, query)) == Problems(Problem::kInvalidQuery));
  }
}

TEST_CASE("target: a cursor comes back as it was given") {
  for (const ListCursor& cursor : {ListCursor{}, ListCursor{65535, std::nullopt}, ListCursor{7, 0},
                                   ListCursor{1, UINT64_MAX}}) {
    ListQuery query;
    REQUIRE_FALSE(ParseListQuery("cursor=" + ToString(cursor), query));
    CHECK(query.cursor == cursor);
  }
}

}  // namespace
}  // namespace podmirror::rest
