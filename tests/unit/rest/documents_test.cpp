#include "rest/documents.h"

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>
#include <set>
#include <string>

#include "rest/listing.h"
#include "rest/problem.h"

namespace podmirror::rest {
namespace {

const trust::Permissions kAll = trust::Permissions::Everything();

using Json = nlohmann::json;

std::string Quoted(std::string_view text) {
  std::string out;
  JsonWriter json(out);
  json.Value(text);
  return out;
}

TEST_CASE("documents: any text becomes valid JSON that reads back") {
  std::string all;
  for (int c = 0; c < 128; ++c) all.push_back(static_cast<char>(c));
  all += "\xc3\xa4\xf0\x9f\x98\x80";
  CHECK(Json::parse(Quoted(all)) == all);
  CHECK(Quoted("a\xff\"") == "\"a\xef\xbf\xbd\\\"\"");
}

TEST_CASE("documents: an entry, as text or base64") {
  const Version version{0x10, 0xabc};
  const EntryRef text = Entry::Make(-1, "k", "v\n", version, 1500);
  CHECK(EntryDocument(*text, 1000) ==
        R"({"type":-1,"key":"k","value":"v\n","version":"0000000000000010-0000000000000abc",)"
        R"("ttl_ms":500})");
  const EntryRef bytes = Entry::Make(1, "k", std::string_view("\xff\0", 2), version);
  CHECK(EntryDocument(*bytes, 0) ==
        R"({"type":1,"key":"k","value_base64":"/wA=",)"
        R"("version":"0000000000000010-0000000000000abc","ttl_ms":null})");
}

TEST_CASE("documents: what became of a write") {
  sync::WriteOutcome outcome;
  outcome.required = sync::AckLevel::kMajority;
  outcome.peers = 2;
  outcome.acked = 1;
  outcome.pending = {"b"};
  outcome.version = {1, 2};
  const Json ack = {{"required", "majority"}, {"peers", 2}, {"acked", 1}, {"pending", {"b"}}};
  CHECK(Json::parse(WriteDocument(7, "k", outcome)) ==
        Json{{"type", 7},
             {"key", "k"},
             {"version", "0000000000000001-0000000000000002"},
             {"ack", ack}});
  CHECK(Json::parse(BatchDocument({3, 4}, outcome)) ==
        Json{{"set", 3}, {"deleted", 4}, {"ack", ack}});
  outcome.absent = {4, 5};
  CHECK(BatchDocument({1, 2, 3}, outcome)
            .starts_with(R"({"set":1,"deleted":2,"touched":1,"missing":2,"ack":{)"));
}

TEST_CASE("documents: peers, with null for what is not known") {
  sync::PeerStatus known;
  known.record.name = "pod-1";
  known.record.uid = "u1";
  known.record.ip = "fd00::1";
  known.record.port = 7070;
  known.record.phase = "Running";
  known.record.ready = true;
  known.record.started_at_ms = 1495534229000;  // 2017-05-23T10:10:29Z
  known.state = sync::LinkState::kStreaming;
  known.acked_seq = 5;
  known.last_ack_ms_ago = 12;
  sync::PeerStatus unknown;
  unknown.record.ip = "10.0.0.1";
  unknown.record.port = 1;
  unknown.legacy = true;
  unknown.error = "connection refused";
  const Json peers = Json::parse(PeersDocument({known, unknown})).at("peers");
  CHECK(peers.at(0) == Json{{"name", "pod-1"},
                            {"uid", "u1"},
                            {"ip", "fd00::1"},
                            {"address", "[fd00::1]:7070"},
                            {"started_at", "2017-05-23T10:10:29Z"},
                            {"phase", "Running"},
                            {"ready", true},
                            {"state", "streaming"},
                            {"protocol", "podmirror.v1"},
                            {"acked_seq", 5},
                            {"behind_entries", 0},
                            {"behind_bytes", 0},
                            {"last_ack_ms_ago", 12},
                            {"error", ""}});
  CHECK(peers.at(1).at("address") == "10.0.0.1:1");
  CHECK(peers.at(1).at("started_at").is_null());
  CHECK(peers.at(1).at("last_ack_ms_ago").is_null());
  CHECK(peers.at(1).at("protocol") == "hellorpc");
  CHECK(peers.at(1).at("error") == "connection refused");
}

TEST_CASE("documents: every problem is a complete document") {
  for (int i = 0; i <= static_cast<int>(Problem::kOverloaded); ++i) {
    const Response response = ProblemResponse(static_cast<Problem>(i), "why");
    CHECK(response.content_type == "application/problem+json");
    const Json json = Json::parse(response.body);
    CHECK(json.at("status") == response.status);
    CHECK(json.at("detail") == "why");
    CHECK_FALSE(json.at("title").get<std::string>().empty());
    CHECK(json.at("type").get<std::string>().starts_with("urn:podmirror:"));
    CHECK((response.status < 500 || response.status == 503 || response.status == 507));
  }
}

// Walks all pages; `between` may change the cache between two of them. `turn`: every other page is
// one of keys only.
std::multiset<std::string> Scan(const Cache& cache, std::int32_t type, ListQuery query,
                                const std::function<void(int page)>& between, bool turn = false) {
  std::multiset<std::string> keys;
  for (int page = 0;; ++page) {
    const Json json = Json::parse(ListDocument(cache, type, query, kAll, 1000));
    CHECK(json.at("entries").size() <= query.limit);
    for (const Json& entry : json.at("entries")) keys.insert(entry.at("key").get<std::string>());
    if (!json.contains("cursor")) return keys;
    const auto prefix = query.prefix;
    const auto limit = query.limit;
    REQUIRE_FALSE(ParseListQuery("cursor=" + json.at("cursor").get<std::string>(), query));
    CHECK((query.prefix == prefix && query.limit == limit));
    if (turn) query.keys_only = !query.keys_only;
    between(page);
    REQUIRE(page < 10'000);
  }
}

TEST_CASE("listing: what exists throughout comes exactly once, whatever the page size") {
  Cache cache;
  const auto put = [&](std::int32_t type, const std::string& key, WallMs expires_at = 0) {
    cache.Merge(Entry::Make(type, key, "v", {1, 1}, expires_at), 0);
  };
  std::multiset<std::string> expected;
  for (int i = 0; i < 500; ++i) {
    put(1, "k" + std::to_string(i));
    expected.insert("k" + std::to_string(i));
    put(2, "other" + std::to_string(i));
  }
  put(1, "expired", 1000);
  put(1, "later", 1001);
  expected.insert("later");
  cache.Merge(Entry::MakeTombstone(1, "gone", {2, 1}), 0);

  const std::uint32_t limit = GENERATE(1u, 7u, 10'000u);
  CHECK(Scan(cache, 1, {.prefix = "", .limit = limit, .cursor = {}}, [](int) {}) == expected);
  // A cursor goes on with values where the keys alone had come, and the other way round.
  CHECK(Scan(
            cache, 1, {.prefix = "", .limit = limit, .cursor = {}, .keys_only = true}, [](int) {},
            true) == expected);

  const auto changing =
      Scan(cache, 1, {.prefix = "k", .limit = limit, .cursor = {}}, [&](int page) {
        put(1, "new" + std::to_string(page));
        cache.Merge(Entry::Make(1, "k1", "changed", {2, static_cast<std::uint64_t>(page)}, 0), 0);
      });
  for (int i = 0; i < 500; ++i) CHECK(changing.count("k" + std::to_string(i)) == 1);
}

TEST_CASE("listing: of keys only, there is everything but the values") {
  Cache cache;
  cache.Merge(Entry::Make(1, "k", "v", {1, 1}), 0);
  const ListQuery query{.prefix = "k", .limit = 1, .cursor = {}, .keys_only = true};
  CHECK(ListDocument(cache, 1, query, kAll, 0) ==
        R"({"entries":[{"key":"k","version":"0000000000000001-0000000000000001","ttl_ms":null}]})");
  cache.Merge(Entry::Make(1, "k", "\xff", {2, 1}, 500), 0);
  CHECK(ListDocument(cache, 1, query, kAll, 100) ==
        R"({"entries":[{"key":"k","version":"0000000000000002-0000000000000001","ttl_ms":400}]})");
}

TEST_CASE("listing: a page is bounded in bytes") {
  Cache cache;
  for (int i = 0; i < 20; ++i) {
    cache.Merge(Entry::Make(1, std::to_string(i), std::string(400'000, 'x'), {1, 1}), 0);
  }
  const std::string page = ListDocument(cache, 1, {}, kAll, 0);
  CHECK(page.size() < 2'000'000);
  CHECK(Scan(cache, 1, {}, [](int) {}).size() == 20);
}

}  // namespace
}  // namespace podmirror::rest
