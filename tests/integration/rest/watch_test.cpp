// /v1/watch and reads that wait, as a client sees them on the wire.
#include <catch2/catch.hpp>
#include <memory>
#include <string>
#include <vector>

#include "certs/test_rules.h"
#include "integration/held.h"
#include "rest_testing.h"

namespace podmirror::rest {
namespace {

using testing::GuardBy;
using testing::RoleFor;
using testing::TestDir;

constexpr std::string_view kLines = "Accept: application/x-ndjson\r\n";

// A client that watches, behind the head of its answer.
std::unique_ptr<RawClient> Watch(TestNode& node, std::string_view target,
                                 std::string_view lines = kLines) {
  auto client = std::make_unique<RawClient>(node.port());
  client->Send(MakeRequest("GET", target, "", lines));
  const auto head = client->Read();
  REQUIRE(head);
  REQUIRE(head->status == 200);
  return client;
}

void Put(TestNode& node, const std::string& key, const std::string& value) {
  REQUIRE(node.Ask("PUT", "/v1/cache/1/" + key, value).status == 200);
}

std::string EtagOf(TestNode& node, const std::string& target) {
  return node.Ask("GET", target).fields.at("etag");
}

TEST_CASE("watch: server-sent events in chunks, each with its id") {
  TestNode node;
  Put(node, "old", "o");
  RawClient client(node.port());
  client.Send(MakeRequest("GET", "/v1/watch?initial=true"));
  const auto head = client.Read();
  REQUIRE(head);
  CHECK(head->fields.at("content-type") == "text/event-stream");
  CHECK(head->fields.at("transfer-encoding") == "chunked");
  CHECK(head->fields.count("content-length") == 0);
  CHECK(client.ReadUntil("\n\n\r\n") == "d\r\nretry: 1000\n\n\r\n");
  const auto state = client.ReadUntil("\n\n\r\n");
  REQUIRE(state);
  CHECK(state->find("-0000000000000000\nevent: put\ndata: {\"type\":1,\"key\":\"old\",\"value\":"
                    "\"o\",\"version\":\"") != std::string::npos);
  CHECK(client.ReadUntil("event: synced\ndata: {}\n\n\r\n"));
  Put(node, "new", "n");
  const auto put = client.ReadUntil("\n\n\r\n");
  REQUIRE(put);
  CHECK(put->find("\nevent: put\ndata: {\"type\":1,\"key\":\"new\",") != std::string::npos);
  node.Ask("DELETE", "/v1/cache/1/new");
  const auto gone = client.ReadUntil("\n\n\r\n");
  REQUIRE(gone);
  CHECK(gone->find("\nevent: delete\ndata: {\"type\":1,\"key\":\"new\",\"version\":") !=
        std::string::npos);
  CHECK(gone->find("\"reason\":\"deleted\"}") != std::string::npos);
  node.server.Stop();
  CHECK(client.ReadAll() == "0\r\n\r\n");
}

TEST_CASE("watch: lines of JSON, without chunks by HTTP/1.0") {
  TestNode node;
  RawClient client(node.port());
  client.Send("GET /v1/watch HTTP/1.0\r\nAccept: application/x-ndjson\r\n\r\n");
  const auto head = client.Read();
  REQUIRE(head);
  CHECK(head->fields.at("content-type") == "application/x-ndjson");
  CHECK(head->fields.count("transfer-encoding") == 0);
  const auto synced = client.ReadUntil("\n");
  REQUIRE(synced);
  CHECK(synced->starts_with("{\"event\":\"synced\",\"id\":\""));
  Put(node, "k", "v");
  const auto put = client.ReadUntil("\n");
  REQUIRE(put);
  CHECK(put->starts_with("{\"event\":\"put\",\"id\":\""));
  CHECK(put->find("\"type\":1,\"key\":\"k\",\"value\":\"v\",\"version\":") != std::string::npos);
  node.server.Stop();
  CHECK(client.ReadAll().empty());
}

TEST_CASE("watch: the id of the last event goes on where it was, before what the target says") {
  TestNode node;
  const auto first = Watch(node, "/v1/watch");
  Put(node, "a", "1");
  first->ReadUntil("\n\r\n");  // synced
  const std::string line = first->ReadUntil("\n\r\n").value_or("");
  const std::size_t at = line.find("\"id\":\"") + 6;
  const std::string id = line.substr(at, 33);
  Put(node, "b", "2");
  const auto by_query = Watch(node, "/v1/watch?since=" + id);
  CHECK(by_query->ReadUntil("\n\r\n").value_or("").find("\"key\":\"b\"") != std::string::npos);
  const auto by_field =
      Watch(node, "/v1/watch?since=stale", std::string(kLines) + "Last-Event-ID: " + id + "\r\n");
  CHECK(by_field->ReadUntil("\n\r\n").value_or("").find("\"key\":\"b\"") != std::string::npos);
  const auto stale = Watch(node, "/v1/watch?since=stale");
  CHECK(stale->ReadUntil("\n\r\n").value_or("").find("{\"event\":\"reset\"") != std::string::npos);
}

TEST_CASE("watch: watchers take no place of other connections, and have a limit of their own") {
  TestNode node({.max_connections = 2, .max_watchers = 6});
  std::vector<std::unique_ptr<RawClient>> watchers;
  for (int i = 0; i < 6; ++i) watchers.push_back(Watch(node, "/v1/watch"));
  CHECK(node.Ask("GET", "/v1/status").status == 200);
  const RawAnswer more = node.Ask("GET", "/v1/watch");
  CHECK(more.status == 503);
  CHECK(more.problem() == "overloaded");
  Put(node, "k", "v");
  for (const auto& watcher : watchers) CHECK(watcher->ReadUntil("\"key\":\"k\""));
  watchers.clear();
  REQUIRE(Eventually([&] { return node.feeds.watchers() == 0; }));
  CHECK(Watch(node, "/v1/watch"));
}

TEST_CASE("watch: who does not read is cut, and the others read on") {
  TestNode node({.max_value_bytes = 64 * 1024,
                 .max_batch_bytes = 64 * 1024,
                 .request_timeout_ms = 300,
                 .change_log_bytes = 1024 * 1024});
  RawClient stuck(node.port());
  stuck.FixReceiveBuffer();
  stuck.Send(MakeRequest("GET", "/v1/watch"));
  REQUIRE(Eventually([&] { return node.feeds.watchers() == 1; }));
  const auto reader = Watch(node, "/v1/watch");
  const std::string value(60 * 1024, 'x');
  int written = 0;
  CHECK(Eventually([&] {
    Put(node, "k", value);
    ++written;
    reader->ReadUntil("\"key\":\"k\"");
    return node.feeds.watchers() == 1;
  }));
  Put(node, "last", "v");
  CHECK(reader->ReadUntil("\"key\":\"last\""));
}

TEST_CASE("watch: what comes behind the request counts for nothing, and the end of input ends it") {
  TestNode node;
  const auto watcher = Watch(node, "/v1/watch");
  watcher->Send(MakeRequest("GET", "/healthz"));
  Put(node, "k", "v");
  CHECK(watcher->ReadUntil("\"key\":\"k\""));
  watcher->FinishSending();
  CHECK(Eventually([&] { return node.feeds.watchers() == 0; }));
}

TEST_CASE("watch: a request that is wrong is refused") {
  TestNode node;
  for (const char* query : {"type=x", "type=01", "initial=yes", "since=a&since=b",
                            "prefix=a&prefix=b", "nonsense=1", "prefix=%zz"}) {
    INFO(query);
    CHECK(node.Ask("GET", std::string("/v1/watch?") + query).problem() == "invalid-query");
  }
  CHECK(node.Ask("POST", "/v1/watch").status == 405);
  CHECK(node.Ask("HEAD", "/v1/watch").status == 405);
  TestNode starting({.start_ready = false});
  CHECK(starting.Ask("GET", "/v1/watch").problem() == "not-ready");
}

TEST_CASE("watch: whoever may not watch any more is cut") {
  const TestDir dir;
  const auto guard = GuardBy(dir, RoleFor("somebody", "\"watch\"", "types = [1]\n"));
  TestNode node({.guard = guard.get()});
  const auto watcher =
      Watch(node, "/v1/watch", std::string(kLines) + "Authorization: Bearer somebody\r\n");
  node.cache.Merge(Entry::Make(2, "hidden", "v", {1, 1}), 0);
  node.cache.Merge(Entry::Make(1, "k", "v", {1, 1}), 0);
  const std::string seen = watcher->ReadUntil("\"key\":\"k\"").value_or("");
  CHECK(seen.find("hidden") == std::string::npos);
  dir.Write("auth.toml", "# nobody\n");
  REQUIRE(guard->Look() == trust::Looked::kTaken);
  CHECK(watcher->ReadUntil("0\r\n\r\n"));
}

TEST_CASE("wait: a read waits until its entry is another") {
  TestNode node;
  Put(node, "k", "v");
  const std::string known = "If-None-Match: " + EtagOf(node, "/v1/cache/1/k") + "\r\n";
  RawClient client(node.port());
  client.Send(MakeRequest("GET", "/v1/cache/1/k?wait=60s", "", known));
  REQUIRE(Eventually([&] { return node.feeds.watchers() == 1; }));
  Put(node, "other", "v");
  CHECK_FALSE(client.HasInput());
  Put(node, "k", "new");
  const auto changed = client.Read();
  REQUIRE(changed);
  CHECK(changed->status == 200);
  CHECK(changed->body == "new");
  CHECK(node.feeds.watchers() == 0);
  // The connection is as good as before.
  client.Send(MakeRequest("GET", "/v1/cache/1/k?wait=60s", "",
                          "If-None-Match: " + changed->fields.at("etag") + "\r\n"));
  REQUIRE(Eventually([&] { return node.feeds.watchers() == 1; }));
  node.Ask("DELETE", "/v1/cache/1/k");
  const auto gone = client.Read();
  REQUIRE(gone);
  CHECK(gone->status == 404);
}

TEST_CASE("wait: what is another already is answered at once, and what stays the same in time") {
  TestNode node({.max_watchers = 1});
  Put(node, "k", "v");
  CHECK(node.Ask("GET", "/v1/cache/1/k?wait=60s").status == 200);
  CHECK(node.Ask("GET", "/v1/cache/1/k?wait=60s", "", "If-None-Match: \"other\"\r\n").status ==
        200);
  CHECK(node.Ask("GET", "/v1/cache/1/none?wait=60s", "", "If-None-Match: \"other\"\r\n").status ==
        404);
  const std::string known = "If-None-Match: " + EtagOf(node, "/v1/cache/1/k") + "\r\n";
  CHECK(node.Ask("GET", "/v1/cache/1/k?wait=100ms", "", known).status == 304);
  for (const char* wait : {"61s", "-1s", "1", "", "1s&wait=1s"}) {
    CHECK(node.Ask("GET", std::string("/v1/cache/1/k?wait=") + wait, "", known).problem() ==
          "invalid-query");
  }
  RawClient waiting(node.port());
  waiting.Send(MakeRequest("GET", "/v1/cache/1/k?wait=60s", "", known));
  REQUIRE(Eventually([&] { return node.feeds.watchers() == 1; }));
  CHECK(node.Ask("GET", "/v1/cache/1/k?wait=60s", "", known).problem() == "overloaded");
  node.server.Stop();
  const auto ended = waiting.Read();
  REQUIRE(ended);
  CHECK(ended->status == 304);
}

}  // namespace
}  // namespace podmirror::rest
