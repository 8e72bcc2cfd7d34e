// Who may do what by REST: each route and method against each verb, and nothing beside it.
#include <catch2/catch.hpp>
#include <random>
#include <string>
#include <vector>

#include "certs/test_rules.h"
#include "integration/held.h"
#include "rest_testing.h"

namespace podmirror::rest {
namespace {

using testing::GuardBy;
using testing::RoleFor;
using testing::RoleForEachVerb;
using testing::TestDir;
using trust::Verb;

std::string Bearer(const std::string& token) { return "Authorization: Bearer " + token + "\r\n"; }

struct Row {
  std::string method;
  std::string target;
  std::string body;
  std::string verb;  // "open": without a token; "known": with any
};

// Every route with every method that it has.
const std::vector<Row>& Matrix() {
  static const std::vector<Row> rows = {
      {"GET", "/healthz", "", "open"},
      {"HEAD", "/healthz", "", "open"},
      {"GET", "/readyz", "", "open"},
      {"HEAD", "/readyz", "", "open"},
      {"GET", "/metrics", "", "metrics"},
      {"HEAD", "/metrics", "", "metrics"},
      {"GET", "/v1/status", "", "status"},
      {"HEAD", "/v1/status", "", "status"},
      {"GET", "/v1/peers", "", "status"},
      {"HEAD", "/v1/peers", "", "status"},
      {"GET", "/v1/tls", "", "status"},
      {"HEAD", "/v1/tls", "", "status"},
      {"GET", "/v1/whoami", "", "known"},
      {"HEAD", "/v1/whoami", "", "known"},
      {"GET", "/v1/watch", "", "watch"},
      {"GET", "/v1/watch?type=1", "", "watch"},
      {"GET", "/v1/cache", "", "status"},
      {"HEAD", "/v1/cache", "", "status"},
      {"POST", "/v1/cache", R"({"data":[{"type":1,"data":{"k":"v"}}]})", "write"},
      {"POST", "/v1/cache", R"({"delete":[{"type":1,"keys":["x"]}]})", "delete"},
      {"GET", "/v1/cache/1", "", "read"},
      {"HEAD", "/v1/cache/1", "", "read"},
      {"GET", "/v1/cache/1/k", "", "read"},
      {"HEAD", "/v1/cache/1/k", "", "read"},
      {"PUT", "/v1/cache/1/k", "v", "write"},
      {"POST", "/v1/cache", R"({"touch":[{"type":1,"keys":["k"],"ttl":"1h"}]})", "write"},
      {"DELETE", "/v1/cache/1/x", "", "delete"},
      {"DELETE", "/v1/cache/1?prefix=x", "", "delete"},
  };
  return rows;
}

TEST_CASE("roles: each route asks for its verb, and for no other") {
  const TestDir dir;
  const auto guard = GuardBy(dir, RoleForEachVerb());
  TestNode node({.guard = guard.get()});
  node.cache.Merge(Entry::Make(1, "k", "v", {1, 1}), 0);
  for (const Row& row : Matrix()) {
    INFO(row.method << " " << row.target << " " << row.body);
    const int nobody = node.Ask(row.method, row.target, row.body).status;
    CHECK(nobody == (row.verb == "open" ? 200 : 401));
    CHECK(node.Ask(row.method, row.target, row.body, Bearer("wrong")).status == nobody);
    for (const Verb verb : trust::kVerbs) {
      const std::string name(trust::ToString(verb));
      INFO("as " << name);
      const bool allowed = row.verb == "open" || row.verb == "known" || row.verb == name;
      CHECK(node.Ask(row.method, row.target, row.body, Bearer(name)).status ==
            (allowed ? 200 : 403));
    }
  }
}

TEST_CASE("roles: a refusal says what is lacking, and a stranger learns nothing") {
  const TestDir dir;
  const auto guard = GuardBy(dir, RoleFor("shop", "\"read\"", "types = [1]\nprefix = \"shop/\""));
  TestNode node({.guard = guard.get()});
  const RawAnswer forbidden = node.Ask("PUT", "/v1/cache/1/shop/x", "v", Bearer("shop"));
  CHECK(forbidden.status == 403);
  CHECK(forbidden.body.find("urn:podmirror:forbidden") != std::string::npos);
  CHECK(forbidden.body.find(R"(shop lacks the verb write on type 1, key prefix \"shop/x\")") !=
        std::string::npos);
  const RawAnswer stranger = node.Ask("GET", "/v1/nonsense");
  CHECK(stranger.status == 401);
  CHECK(stranger.fields.at("www-authenticate") == "Bearer");
  CHECK(node.Ask("GET", "/v1/nonsense", "", Bearer("shop")).status == 404);
  CHECK(node.Ask("PATCH", "/v1/status", "", Bearer("shop")).status == 405);
  CHECK(node.Ask("GET", "/v1/whoami", "", Bearer("shop") + Bearer("shop")).status == 401);
  CHECK(node.Ask("GET", "/v1/whoami", "",
                 "Authorization: Bearer " + std::string(15'000, 'x') + "\r\n")
            .status == 401);
  CHECK(node.Ask("GET", "/v1/whoami", "",
                 "Authorization: Bearer " + std::string(64'000, 'x') + "\r\n")
            .status == 431);
}

TEST_CASE("roles: a batch is applied as a whole or not at all") {
  const TestDir dir;
  const auto guard = GuardBy(dir, RoleFor("shop", "\"write\"", "types = [1]\nprefix = \"shop/\""));
  TestNode node({.guard = guard.get()});
  const auto post = [&](const std::string& body) {
    return node.Ask("POST", "/v1/cache", body, Bearer("shop")).status;
  };
  CHECK(post(R"({"data":[{"type":1,"data":{"shop/a":"1","other":"2"}}]})") == 403);
  CHECK(post(R"({"data":[{"type":1,"data":{"shop/a":"1"}},{"type":2,"data":{"shop/a":"2"}}]})") ==
        403);
  CHECK(post(R"({"data":[{"type":1,"data":{"shop/a":"1"}}],)"
             R"("delete":[{"type":1,"keys":["shop/b"]}]})") == 403);
  CHECK(node.cache.Stats().entries == 0);
  CHECK(post(R"({"data":[{"type":1,"data":{"shop/a":"1"}}]})") == 200);
  CHECK(node.cache.Stats().entries == 1);
  CHECK(post("{}") == 200);
}

TEST_CASE("roles: all below a prefix may be deleted only by who may delete each key of it") {
  const TestDir dir;
  const auto guard =
      GuardBy(dir, RoleFor("shop", R"("delete", "read")", "types = [1]\nprefix = \"shop/\""));
  TestNode node({.guard = guard.get()});
  std::uint64_t serial = 0;
  for (const char* key : {"shop/a", "shop/b", "other"}) {
    node.cache.Merge(Entry::Make(1, key, "v", {++serial, 1}), 0);
  }
  const auto remove = [&](const std::string& target) {
    return node.Ask("DELETE", "/v1/cache/" + target, "", Bearer("shop"));
  };
  const std::uint64_t digest = node.cache.digest();
  CHECK(remove("1?prefix=").status == 403);
  CHECK(remove("1?prefix=sh")
            .body.find(R"(shop lacks the verb delete on type 1, key prefix \"sh\")") !=
        std::string::npos);
  CHECK(remove("1?prefix=nothing/there").status == 403);
  CHECK(remove("2?prefix=shop/").status == 403);
  CHECK(node.cache.digest() == digest);
  CHECK(remove("1?prefix=shop/").status == 200);
  CHECK(node.cache.Types().at(1).entries == 1);
  CHECK(remove("1?prefix=shop/x/").status == 200);
}

TEST_CASE("roles: who may write nothing may not even do that") {
  const TestDir dir;
  const auto guard = GuardBy(dir, RoleFor("shop", "\"read\", \"status\""));
  TestNode node({.guard = guard.get()});
  CHECK(node.Ask("POST", "/v1/cache", "{}", Bearer("shop")).status == 403);
}

TEST_CASE("roles: who is limited to some keys never sees or changes others, by any route") {
  const TestDir dir;
  const auto guard =
      GuardBy(dir, RoleFor("a", R"("read", "write", "delete", "status", "metrics", "watch")",
                           "types = [1]\nprefix = \"a/\""));
  TestNode node({.guard = guard.get()});
  const std::vector<std::string> keys = {"a/x",  "a/y",   "a",          "b",     "b/a/x", "A/x",
                                         "ab/x", "a%2Fz", "a/%2E%2E/b", "%61/x", "a//b",  "c"};
  const std::vector<std::string> types = {"1", "2", "-1", "0"};
  const auto others = [&] { return HeldBeside(node.cache, 1, "a/"); };
  std::uint64_t serial = 0;
  for (const char* key : {"a", "b", "b/a/x", "A/x", "ab/x", "c"}) {
    node.cache.Merge(Entry::Make(1, key, "secret", {++serial, 1}), 0);
  }
  for (const std::int32_t type : {2, -1, 0}) {
    for (const char* key : {"a/x", "a/y", "c"}) {
      node.cache.Merge(Entry::Make(type, key, "secret", {++serial, 1}), 0);
    }
  }
  const auto before = others();
  std::mt19937 random(20261201);
  const auto one_of = [&random](const auto& list) {
    return list[std::uniform_int_distribution<std::size_t>(0, list.size() - 1)(random)];
  };
  int allowed = 0;
  for (int i = 0; i < 1500; ++i) {
    const std::string type = one_of(types);
    const std::string key = one_of(keys);
    std::string method = one_of(std::vector<std::string>{"GET", "PUT", "DELETE", "HEAD", "POST"});
    std::string target = "/v1/cache/" + type + "/" + key;
    std::string body = method == "PUT" ? "mine" : "";
    if (method == "POST") {
      target = "/v1/cache";
      const std::string item = type + R"(,"keys":[")" + key + R"("])";
      body = one_of(std::vector<std::string>{
          R"({"data":[{"type":)" + type + R"(,"data":{")" + key + R"(":"mine"}}]})",
          R"({"delete":[{"type":)" + item + "}]}",
          R"({"touch":[{"type":)" + item + R"(,"ttl":"1h"}]})"});
    } else if (method == "DELETE" && random() % 3 == 0) {
      target = "/v1/cache/" + type + "?prefix=" + key;
    } else if (method == "GET" && random() % 3 == 0) {
      target = one_of(std::vector<std::string>{
          "/v1/cache/" + type, "/v1/cache/" + type + "?prefix=" + key,
          "/v1/cache/" + type + "?keys_only=true", "/v1/cache/" + type + "?limit=1", "/v1/cache",
          "/v1/status", "/v1/peers", "/metrics"});
    }
    INFO(method << " " << target << " " << body);
    const RawAnswer answer =
        node.Ask(method, target, body, Bearer("a") + "Accept: application/json\r\n");
    allowed += answer.status == 200 ? 1 : 0;
    REQUIRE(answer.body.find("secret") == std::string::npos);
    REQUIRE((answer.status < 500 && others() == before));
  }
  CHECK(allowed > 100);
}

TEST_CASE("roles: the audit tells who did what, and never a value") {
  const TestDir dir;
  const auto guard = GuardBy(
      dir, RoleFor("w", "\"write\", \"read\"") + RoleFor("d", "\"delete\"", "prefix = \"a\""));
  std::vector<std::string> lines;
  absl::Mutex mu;
  const auto told = [&](trust::Audit::Level level, auto&& requests) {
    lines.clear();
    const Cache* cache = nullptr;
    const trust::Audit audit(level, [&](const trust::AuditRecord& record) {
      std::string line(record.subject);
      line += " " + std::string(record.method);
      if (record.action) line += " " + std::string(trust::ToString(*record.action));
      if (record.type) line += " " + std::to_string(*record.type);
      if (!record.key.empty()) line += " " + std::string(record.key);
      line += " " + std::string(record.result);
      if (!record.version.empty()) {
        const EntryRef entry = cache->Peek(*record.type, record.key);
        line += entry && entry->version().ToString() == record.version ? " v" : " another version";
      }
      CHECK(record.ip == "127.0.0.1");
      absl::MutexLock lock(&mu);
      lines.push_back(line);
    });
    TestNode node({.guard = guard.get(), .audit = &audit});
    cache = &node.cache;
    requests(node);
    return lines;
  };
  const auto requests = [](TestNode& node) {
    node.Ask("PUT", "/v1/cache/1/k", "value", Bearer("w"));
    node.Ask("GET", "/v1/cache/1/k", "", Bearer("w"));
    node.Ask("DELETE", "/v1/cache/1/k", "", Bearer("w"));
    node.Ask("GET", "/v1/cache/1/k");
    node.Ask("POST", "/v1/cache", R"({"data":[{"type":2,"data":{"a":"1","b":"2"}}]})", Bearer("w"));
    node.Ask("POST", "/v1/cache",
             R"({"touch":[{"type":2,"keys":["none","b"],"ttl":"1h"}],)"
             R"("data":[{"type":3,"data":{"c":""}}]})",
             Bearer("w"));
    node.Ask("DELETE", "/v1/cache/2?prefix=a", "", Bearer("d"));
    node.Ask("DELETE", "/v1/cache/2?prefix=", "", Bearer("d"));
  };
  using Lines = std::vector<std::string>;
  CHECK(told(trust::Audit::Level::kOff, requests).empty());
  CHECK(told(trust::Audit::Level::kDenied, requests) ==
        Lines{"w DELETE delete 1 k forbidden", " GET unauthorized", "d DELETE delete 2 forbidden"});
  Lines writes = {"w PUT write 1 k ok v",       "w DELETE delete 1 k forbidden",
                  " GET unauthorized",          "w POST write 2 a ok v",
                  "w POST write 2 b ok v",      "w POST write 3 c ok v",
                  "w POST write 2 none absent", "w POST write 2 b ok v",
                  "d DELETE delete 2 a ok v",   "d DELETE delete 2 forbidden"};
  CHECK(told(trust::Audit::Level::kWrites, requests) == writes);
  writes.insert(writes.begin() + 1, "w GET read 1 k ok");
  CHECK(told(trust::Audit::Level::kAll, requests) == writes);
}

}  // namespace
}  // namespace podmirror::rest
