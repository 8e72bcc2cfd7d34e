#include "rest/rest_server.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <chrono>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

#include "absl/synchronization/notification.h"
#include "raw_client.h"
#include "rest_testing.h"

namespace podmirror::rest {
namespace {

using namespace std::chrono_literals;
using Json = nlohmann::json;

TEST_CASE("rest: put, get, delete") {
  TestNode node;
  const RawAnswer put = node.Ask("PUT", "/v1/cache/1/k", "hello");
  CHECK(put.status == 200);
  CHECK(put.fields.at("content-type") == "application/json");
  const Json written = Json::parse(put.body);
  CHECK(written.at("type") == 1);
  CHECK(written.at("key") == "k");
  CHECK(written.at("ack") ==
        Json{{"required", "all"}, {"peers", 0}, {"acked", 0}, {"pending", Json::array()}});
  const std::string version = written.at("version");

  const RawAnswer get = node.Ask("GET", "/v1/cache/1/k");
  CHECK(get.status == 200);
  CHECK(get.body == "hello");
  CHECK(get.fields.at("content-type") == "application/octet-stream");
  CHECK(get.fields.at("etag") == "\"" + version + "\"");
  CHECK_FALSE(get.fields.contains("podmirror-ttl-ms"));

  RawClient head(node.port());
  head.Send(MakeRequest("HEAD", "/v1/cache/1/k") + MakeRequest("GET", "/healthz"));
  const auto answer = head.Read(false);
  CHECK(answer->fields.at("content-length") == "5");
  CHECK(answer->fields.at("etag") == "\"" + version + "\"");
  CHECK(head.Read()->body == "ok\n");

  CHECK(node.Ask("DELETE", "/v1/cache/1/k").status == 200);
  CHECK(node.Ask("DELETE", "/v1/cache/1/never-there").status == 200);
  const RawAnswer gone = node.Ask("GET", "/v1/cache/1/k");
  CHECK(gone.status == 404);
  CHECK(gone.problem() == "not-found");
}

TEST_CASE("rest: conditional and JSON reads") {
  TestNode node;
  node.Ask("PUT", "/v1/cache/-5/k?ttl=1h", "v");
  node.Ask("PUT", "/v1/cache/-5/b", "\xff");
  const RawAnswer get = node.Ask("GET", "/v1/cache/-5/k");
  const std::string etag = get.fields.at("etag");
  const std::int64_t ttl = std::stoll(get.fields.at("podmirror-ttl-ms"));
  CHECK((ttl > 3'500'000 && ttl <= 3'600'000));
  for (const std::string& tags : {etag, "W/" + etag, "\"x\", " + etag, std::string("*")}) {
    CAPTURE(tags);
    const RawAnswer same = node.Ask("GET", "/v1/cache/-5/k", "", "If-None-Match: " + tags + "\r\n");
    CHECK(same.status == 304);
    CHECK(same.fields.at("etag") == etag);
    CHECK_FALSE(same.fields.contains("content-length"));
  }
  CHECK(node.Ask("GET", "/v1/cache/-5/k", "", "If-None-Match: \"x\"\r\n").status == 200);
  const Json text =
      Json::parse(node.Ask("GET", "/v1/cache/-5/k", "", "Accept: application/json\r\n").body);
  CHECK(text.at("value") == "v");
  CHECK("\"" + text.at("version").get<std::string>() + "\"" == etag);
  CHECK(text.at("ttl_ms") > 3'500'000);
  // What caches between us and the client have to know of it.
  CHECK(get.fields.at("vary") == "Accept");
  CHECK(node.Ask("GET", "/v1/cache/-5/k", "", "Accept: application/json, */*\r\n").body == "v");
  const Json bytes =
      Json::parse(node.Ask("GET", "/v1/cache/-5/b", "", "Accept: application/json\r\n").body);
  CHECK(bytes.at("value_base64") == "/w==");
  CHECK(bytes.at("ttl_ms").is_null());
}

TEST_CASE("rest: the key is what follows the type, decoded once") {
  TestNode node;
  const std::vector<std::pair<std::string, std::string>> keys = {
      {"a/b", "a/b"},         {"a%2Fb", "a/b"},         {"/", "/"},
      {"..", ".."},           {"a+b", "a+b"},           {"%2520", "%20"},
      {"%C3%A4", "\xc3\xa4"}, {"\xc3\xa4", "\xc3\xa4"}, {"a#b", "a#b"},
      {"%3F", "?"},           {"a&b=c", "a&b=c"}};
  for (const auto& [raw, key] : keys) {
    CAPTURE(raw);
    const RawAnswer put = node.Ask("PUT", "/v1/cache/1/" + raw, "v");
    CHECK(put.status == 200);
    CHECK(Json::parse(put.body).at("key") == key);
  }
  const std::string longest(512, 'k');
  CHECK(node.Ask("PUT", "/v1/cache/1/" + longest, "v").status == 200);
}

struct BadRequest {
  std::string method;
  std::string target;
  std::string body;
  std::string lines;
  int status;
  std::string problem;
};

TEST_CASE("rest: bad requests are named by a problem document and change nothing") {
  TestNode node;
  const std::string key = "/v1/cache/1/k";
  const std::string tag = "\"" + Version{1, 2}.ToString() + "\"";
  const std::vector<BadRequest> examples = {
      {"PUT", "/v1/cache/1/" + std::string(513, 'k'), "v", "", 400, "invalid-key"},
      {"PUT", "/v1/cache/1/%ff", "v", "", 400, "invalid-key"},
      {"PUT", "/v1/cache/1/\xff", "v", "", 400, "invalid-key"},
      {"PUT", "/v1/cache/1/a%00", "v", "", 400, "invalid-key"},
      {"PUT", "/v1/cache/1/a%4", "v", "", 400, "invalid-key"},
      {"PUT", "/v1/cache/1/", "v", "", 400, "invalid-key"},
      {"GET", "/v1/cache/1/%zz", "", "", 400, "invalid-key"},
      {"PUT", "/v1/cache/abc/k", "v", "", 400, "invalid-type"},
      {"PUT", "/v1/cache/2147483648/k", "v", "", 400, "invalid-type"},
      {"PUT", "/v1/cache/01/k", "v", "", 400, "invalid-type"},
      {"GET", "/v1/cache/+1", "", "", 400, "invalid-type"},
      {"GET", "/v1/cache/", "", "", 400, "invalid-type"},
      {"PUT", key, std::string(1025, 'v'), "", 413, "value-too-large"},
      {"POST", "/v1/cache", std::string(4097, ' '), "", 413, "batch-too-large"},
      {"PUT", key + "?ttl=0s", "v", "", 400, "invalid-ttl"},
      {"PUT", key + "?ttl=5", "v", "", 400, "invalid-ttl"},
      {"PUT", key + "?ack=most", "v", "", 400, "invalid-query"},
      {"PUT", key + "?timeout=x", "v", "", 400, "invalid-query"},
      {"PUT", key + "?color=red", "v", "", 400, "invalid-query"},
      {"PUT", key + "?ack=all&ack=all", "v", "", 400, "invalid-query"},
      {"GET", key + "?x=1", "", "", 400, "invalid-query"},
      {"GET", "/v1/cache?x=1", "", "", 400, "invalid-query"},
      {"GET", "/v1/status?x", "", "", 400, "invalid-query"},
      {"GET", "/v1/cache/1?limit=0", "", "", 400, "invalid-query"},
      {"GET", "/v1/cache/1?cursor=zz", "", "", 400, "invalid-query"},
      {"GET", "/v1/cache/1?keys_only=yes", "", "", 400, "invalid-query"},
      {"PUT", key, "v", "If-Match: \"x\"\r\n", 400, "precondition-unsupported"},
      {"PUT", key, "v", "If-Match: *\r\n", 400, "precondition-unsupported"},
      {"PUT", key, "v", "If-Match: " + tag + ", " + tag + "\r\n", 400, "precondition-unsupported"},
      {"PUT", key, "v", "If-Match: W/" + tag + "\r\n", 400, "precondition-unsupported"},
      {"PUT", key, "v", "If-Match: " + tag + "\r\nIf-Match: " + tag + "\r\n", 400,
       "precondition-unsupported"},
      {"PUT", key, "v", "If-Match: " + tag + "\r\nIf-None-Match: *\r\n", 400,
       "precondition-unsupported"},
      {"DELETE", key, "", "If-None-Match: " + tag + "\r\n", 400, "precondition-unsupported"},
      {"PUT", key + "?ack=local", "v", "If-None-Match: *\r\n", 400, "invalid-query"},
      {"POST", "/v1/cache", "{}", "If-None-Match: *\r\n", 400, "precondition-unsupported"},
      {"DELETE", key, "", "If-Unmodified-Since: x\r\n", 400, "precondition-unsupported"},
      {"POST", "/v1/cache", "{}", "If-Match: *\r\n", 400, "precondition-unsupported"},
      {"GET", key, "", "If-Match: *\r\n", 400, "precondition-unsupported"},
      {"GET", key, "", "If-Modified-Since: x\r\n", 400, "precondition-unsupported"},
      {"GET", key, "", "If-Unmodified-Since: x\r\n", 400, "precondition-unsupported"},
      {"GET", "/v1/cache/1", "", "If-None-Match: *\r\n", 400, "precondition-unsupported"},
      {"GET", "/v1/status", "", "If-None-Match: *\r\n", 400, "precondition-unsupported"},
      {"PUT", key, "rest", "Content-Range: bytes 5-8/9\r\n", 400, "invalid-request"},
      {"DELETE", key, "", "Content-Range: bytes 5-8/9\r\n", 400, "invalid-request"},
      {"POST", "/v1/cache", "{}", "Content-Range: bytes 0-1/2\r\n", 400, "invalid-request"},
      {"OPTIONS", "*", "", "", 404, "no-such-route"},
      {"OPTIONS", key, "", "", 405, "method-not-allowed"},
      {"TRACE", key, "", "", 405, "method-not-allowed"},
      {"PUT", key, "\x1f\x8b", "Content-Encoding: gzip\r\n", 415, "unsupported-encoding"},
      {"GET", "/v1/status", "", "Content-Encoding: br\r\n", 415, "unsupported-encoding"},
      {"POST", "/v1/cache", "{", "", 400, "invalid-json"},
      {"POST", "/v1/cache", "", "", 400, "invalid-json"},
      {"POST", "/v1/cache", R"({"data":[{"type":1,"data":{"k":"v"}},{"type":1,"data":{"":"v"}}]})",
       "", 400, "invalid-key"},
      {"POST", "/v1/cache", R"({"data":[{"type":1,"data":{"k":"v"}},{"type":"x","data":{}}]})", "",
       400, "invalid-type"},
      {"POST", "/v1/cache",
       R"({"data":[{"type":1,"data":{"k":"v"}},{"type":1,"data":{"z":")" + std::string(1025, 'v') +
           R"("}}]})",
       "", 413, "value-too-large"},
      {"GET", "/", "", "", 404, "no-such-route"},
      {"GET", "/v1/cachex", "", "", 404, "no-such-route"},
      {"PATCH", key, "v", "", 405, "method-not-allowed"},
      {"POST", key, "v", "", 405, "method-not-allowed"},
      {"PUT", "/v1/cache", "v", "", 405, "method-not-allowed"},
      {"PUT", "/v1/cache/1", "", "", 405, "method-not-allowed"},
      {"DELETE", "/v1/cache/1", "", "", 400, "invalid-query"},
      {"DELETE", "/v1/cache/1?prefx=a", "", "", 400, "invalid-query"},
      {"DELETE", "/v1/cache/1?prefix=a&ttl=1s", "", "", 400, "invalid-query"},
      {"DELETE", "/v1/cache/01?prefix=a", "", "", 400, "invalid-type"},
      {"DELETE", "/v1/cache/1?prefix=a", "", "If-Match: \"x\"\r\n", 400,
       "precondition-unsupported"},
      {"DELETE", "/v1/cache/1?prefix=a", "", "Content-Range: bytes 5-8/9\r\n", 400,
       "invalid-request"},
      {"POST", "/v1/cache", R"({"touch":[{"type":1,"keys":["k"]}]})", "", 400, "invalid-ttl"},
      {"POST", "/v1/cache",
       R"({"touch":[{"type":1,"keys":["k"],"ttl":"1s"}],"delete":[{"type":1,"keys":["k"]}]})", "",
       400, "invalid-json"},
      {"POST", "/healthz", "", "", 405, "method-not-allowed"},
      {"BREW", "/v1/status", "", "", 405, "method-not-allowed"},
  };
  node.Ask("PUT", "/v1/cache/1/here", "v");
  const std::uint64_t digest = node.cache.digest();
  for (const BadRequest& example : examples) {
    CAPTURE(example.method, example.target, example.body, example.lines);
    const RawAnswer answer = node.Ask(example.method, example.target, example.body, example.lines);
    CHECK(answer.status == example.status);
    CHECK(answer.problem() == example.problem);
    CHECK(answer.fields.at("content-type") == "application/problem+json");
    CHECK(Json::parse(answer.body).at("status") == example.status);
  }
  CHECK(node.cache.digest() == digest);
  CHECK(node.Ask("PUT", "/v1/cache", "v").fields.at("allow") == "GET, HEAD, POST");
  CHECK(node.Ask("PUT", "/v1/cache/1", "v").fields.at("allow") == "GET, HEAD, DELETE");
  CHECK(node.Ask("PUT", key, "v", "Content-Encoding: br\r\n").fields.at("accept-encoding") ==
        "identity");
  CHECK(node.Ask("PUT", key, "v", "Content-Encoding: identity\r\n").status == 200);
}

TEST_CASE("rest: fields that have no meaning here change nothing") {
  TestNode node;
  const std::string key = "/v1/cache/1/k";
  CHECK(node.Ask("PUT", key, "v", "Authorization: Basic eA==\r\nContent-Type: x/y\r\n").status ==
        200);
  const std::string etag = node.Ask("GET", key).fields.at("etag");
  for (const std::string lines :
       {"Authorization: Bearer x\r\n", "Range: bytes=0-0\r\nIf-Range: \"x\"\r\n",
        "Content-Range: bytes 0-0/1\r\n", "Upgrade: h2c\r\nConnection: Upgrade\r\n",
        "Accept-Encoding: gzip\r\nTE: trailers\r\n", "Expect: nothing\r\n",
        "If-None-Match: \"x\"\r\nIf-Modified-Since: Wed, 18 May 2033 03:33:20 GMT\r\n"}) {
    CAPTURE(lines);
    const RawAnswer answer = node.Ask("GET", key, "", lines);
    CHECK((answer.status == 200 && answer.body == "v"));
    CHECK(answer.fields.at("etag") == etag);
  }
}

TEST_CASE("rest: targets with a server in them, as proxies send them") {
  TestNode node;
  RawClient proxy(node.port());
  CHECK(proxy.Ask(MakeRequest("PUT", "http://cache.example:8080/v1/cache/1/a%2Fb?ack=local", "v"))
            ->status == 200);
  CHECK(proxy.Ask(MakeRequest("GET", "HTTP://[::1]/v1/cache/1/a/b"))->body == "v");
  CHECK(proxy.Ask(MakeRequest("GET", "http://cache.example/"))->problem() == "no-such-route");
}

TEST_CASE("rest: bodies are stored as sent, whatever they are said to be") {
  TestNode node;
  const std::string form = "a=1&b=%20+";
  node.Ask("PUT", "/v1/cache/1/form", form, "Content-Type: application/x-www-form-urlencoded\r\n");
  CHECK(node.Ask("GET", "/v1/cache/1/form").body == form);
  const std::string parts =
      "--x\r\nContent-Disposition: form-data; name=\"f\"\r\n\r\nv\r\n--x--\r\n";
  node.Ask("PUT", "/v1/cache/1/parts", parts, "Content-Type: multipart/form-data; boundary=x\r\n");
  CHECK(node.Ask("GET", "/v1/cache/1/parts").body == parts);
  const std::string zeros(1000, '\0');
  node.Ask("PUT", "/v1/cache/1/zeros", zeros);
  CHECK(node.Ask("GET", "/v1/cache/1/zeros").body == zeros);
  CHECK(node.Ask("PUT", "/v1/cache/1/empty").status == 200);
  CHECK(node.Ask("GET", "/v1/cache/1/empty").fields.at("content-length") == "0");
  RawClient chunked(node.port());
  CHECK(chunked
            .Ask("PUT /v1/cache/1/chunks HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
                 "3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")
            ->status == 200);
  CHECK(node.Ask("GET", "/v1/cache/1/chunks").body == "abcde");
}

TEST_CASE("rest: ranges are ignored, however many") {
  TestNode node;
  node.Ask("PUT", "/v1/cache/1/k", std::string(1000, 'v'));
  std::string ranges = "Range: bytes=0-0";
  for (int i = 1; i < 1900; ++i) ranges += ",0-" + std::to_string(i % 10);
  const RawAnswer answer = node.Ask("GET", "/v1/cache/1/k", "", ranges + "\r\n");
  CHECK(answer.status == 200);
  CHECK(answer.body.size() == 1000);
}

TEST_CASE("rest: a batch sets and deletes, and counts") {
  TestNode node;
  node.Ask("PUT", "/v1/cache/1/old", "v");
  const RawAnswer answer =
      node.Ask("POST", "/v1/cache?ack=local",
               R"({"data":[{"type":1,"data":{"k":"v","b":{"base64":"/wA="}},"ttl":"1h"}],)"
               R"("delete":[{"type":1,"keys":["old"]}]})");
  CHECK(answer.status == 200);
  const Json json = Json::parse(answer.body);
  CHECK(json.at("set") == 2);
  CHECK(json.at("deleted") == 1);
  CHECK(json.at("ack").at("required") == "local");
  CHECK(node.Ask("GET", "/v1/cache/1/b").body == std::string("\xff\0", 2));
  CHECK(node.Ask("GET", "/v1/cache/1/k").fields.contains("podmirror-ttl-ms"));
  CHECK(node.Ask("GET", "/v1/cache/1/old").status == 404);
  CHECK(node.Ask("POST", "/v1/cache", "{}").status == 200);
}

TEST_CASE("rest: a batch touches what is there, and counts what is not") {
  TestNode node;
  node.Ask("PUT", "/v1/cache/1/a", "va");
  node.Ask("PUT", "/v1/cache/1/b?ttl=1h", "vb");
  node.Ask("PUT", "/v1/cache/1/old", "v");
  const std::string before = node.Ask("GET", "/v1/cache/1/a").fields.at("etag");
  const std::string ack = R"("ack":{"required":"all","peers":0,"acked":0,"pending":[]}})";
  const auto post = [&node](const std::string& query, const std::string& body) {
    const RawAnswer answer = node.Ask("POST", "/v1/cache" + query, body);
    CHECK(answer.status == 200);
    return answer.body;
  };
  CHECK(post("", R"({"touch":[{"type":1,"keys":["a","never"],"ttl":"10m"}],)"
                 R"("data":[{"type":1,"data":{"k":"v","l":"w"}}],)"
                 R"("delete":[{"type":1,"keys":["old"]}]})") ==
        R"({"set":2,"deleted":1,"touched":1,"missing":1,)" + ack);
  const RawAnswer touched = node.Ask("GET", "/v1/cache/1/a");
  CHECK(touched.body == "va");
  CHECK(touched.fields.at("etag") > before);
  const std::int64_t ttl = std::stoll(touched.fields.at("podmirror-ttl-ms"));
  CHECK((ttl > 590'000 && ttl <= 600'000));
  CHECK(node.Ask("GET", "/v1/cache/1/never").status == 404);
  CHECK_FALSE(node.Ask("GET", "/v1/cache/1/k").fields.contains("podmirror-ttl-ms"));

  CHECK(post("?ttl=1m", R"({"touch":[{"type":1,"keys":["b"]}]})") ==
        R"({"set":0,"deleted":0,"touched":1,"missing":0,)" + ack);
  CHECK(std::stoll(node.Ask("GET", "/v1/cache/1/b").fields.at("podmirror-ttl-ms")) <= 60'000);
  CHECK(post("", R"({"touch":[]})") == R"({"set":0,"deleted":0,"touched":0,"missing":0,)" + ack);
  CHECK(post("", "{}") == R"({"set":0,"deleted":0,)" + ack);
}

TEST_CASE("rest: what begins with a prefix is deleted at once") {
  TestNode node;
  for (const std::string key : {"a/1", "a/2", "a/%20x", "a", "b/a/1"}) {
    node.Ask("PUT", "/v1/cache/1/" + key, "v");
  }
  node.Ask("PUT", "/v1/cache/2/a/1", "v");
  const auto remove = [&node](const std::string& target) {
    const RawAnswer answer = node.Ask("DELETE", target);
    CHECK(answer.status == 200);
    return Json::parse(answer.body);
  };
  CHECK(node.Ask("DELETE", "/v1/cache/1?prefix=a%2F&ack=local").body ==
        R"({"set":0,"deleted":3,"ack":{"required":"local","peers":0,"acked":0,"pending":[]}})");
  CHECK(remove("/v1/cache/1?prefix=a/").at("deleted") == 0);
  CHECK(node.cache.Types().at(1).entries == 2);
  CHECK(node.cache.Types().at(2).entries == 1);
  // An empty prefix is one: it has to be said.
  CHECK(node.Ask("DELETE", "/v1/cache/1").status == 400);
  CHECK(node.cache.Types().at(1).entries == 2);
  CHECK(remove("/v1/cache/1?prefix=").at("deleted") == 2);
  CHECK(remove("/v1/cache/-7?prefix").at("deleted") == 0);
  CHECK(node.cache.Stats().entries == 1);
  CHECK(node.Ask("GET", "/metrics").body.find(R"(method="DELETE",route="cache_type")") !=
        std::string::npos);

  TestNode joining({.start_ready = false});
  CHECK(joining.Ask("DELETE", "/v1/cache/1?prefix=a").problem() == "not-ready");
  node.driver.BeginDrain();
  CHECK(node.Ask("DELETE", "/v1/cache/2?prefix=a").problem() == "draining");
}

TEST_CASE("rest: a delete by prefix waits for acknowledgements as others do") {
  TestNode node;
  node.Ask("PUT", "/v1/cache/1/a", "v");
  node.AddReachablePeer("peer");
  const RawAnswer late = node.Ask("DELETE", "/v1/cache/1?prefix=a&timeout=50ms");
  CHECK(late.status == 202);
  CHECK(Json::parse(late.body) ==
        Json{{"set", 0},
             {"deleted", 1},
             {"ack", {{"required", "all"}, {"peers", 1}, {"acked", 0}, {"pending", {"peer"}}}}});
}

TEST_CASE("rest: too many entries below a prefix are not deleted") {
  TestNode node;
  for (std::size_t i = 0; i <= sync::kMaxDeletedBelow; ++i) {
    node.cache.Merge(Entry::Make(1, "a/" + std::to_string(i), "v", {i + 1, 1}), 0);
  }
  const std::uint64_t digest = node.cache.digest();
  const RawAnswer refused = node.Ask("DELETE", "/v1/cache/1?prefix=a/");
  CHECK(refused.status == 413);
  CHECK(refused.problem() == "batch-too-large");
  CHECK(node.cache.digest() == digest);
  // One fewer is not too many.
  CHECK(node.Ask("DELETE", "/v1/cache/1/a/7").status == 200);
  CHECK(Json::parse(node.Ask("DELETE", "/v1/cache/1?prefix=a/").body).at("deleted") ==
        sync::kMaxDeletedBelow);
  CHECK(node.cache.Stats().entries == 0);
}

TEST_CASE("rest: a delete by prefix holds no worker, and only so many wait") {
  absl::Notification held;
  absl::Notification go_on;
  const trust::Audit audit(trust::Audit::Level::kWrites, [&](const trust::AuditRecord& record) {
    if (record.method != "DELETE" || held.HasBeenNotified()) return;
    held.Notify();
    go_on.WaitForNotification();
  });
  TestNode node({.workers = 1, .audit = &audit});
  node.Ask("PUT", "/v1/cache/1/k", "v");
  const std::string request = MakeRequest("DELETE", "/v1/cache/1?prefix=k");
  RawClient first(node.port());
  first.Send(request);
  held.WaitForNotification();  // the thread that looks at the cache goes no further
  constexpr std::size_t kMayWait = 16;
  std::vector<std::unique_ptr<RawClient>> others;
  for (std::size_t i = 0; i <= kMayWait; ++i) {
    others.push_back(std::make_unique<RawClient>(node.port()));
    others.back()->Send(request);
  }
  const auto answered = [](const auto& client) { return client->HasInput(); };
  REQUIRE(Eventually([&] { return std::any_of(others.begin(), others.end(), answered); }));
  const auto refused = std::find_if(others.begin(), others.end(), answered);
  CHECK((*refused)->Read()->problem() == "overloaded");
  others.erase(refused);
  CHECK(node.Ask("GET", "/v1/cache/1/k").status == 404);
  CHECK(node.Ask("GET", "/healthz").status == 200);
  go_on.Notify();
  CHECK(first.Read()->status == 200);
  for (const auto& client : others) CHECK(client->Read()->status == 200);
}

TEST_CASE("rest: listings and types") {
  TestNode node;
  std::set<std::string> expected;
  for (int i = 0; i < 100; ++i) {
    const std::string key = "p" + std::to_string(i);
    node.Ask("PUT", "/v1/cache/1/" + key, "v");
    expected.insert(key);
  }
  node.Ask("PUT", "/v1/cache/1/q", "v");
  node.Ask("PUT", "/v1/cache/2/x", "abc");
  std::set<std::string> keys;
  std::string cursor;
  do {
    const RawAnswer page = node.Ask(
        "GET", "/v1/cache/1?prefix=p&limit=7" + (cursor.empty() ? "" : "&cursor=" + cursor));
    REQUIRE(page.status == 200);
    const Json json = Json::parse(page.body);
    for (const Json& entry : json.at("entries")) {
      CHECK(entry.at("value") == "v");
      CHECK(keys.insert(entry.at("key")).second);
    }
    cursor = json.value("cursor", "");
  } while (!cursor.empty());
  CHECK(keys == expected);
  const Json key = Json::parse(node.Ask("GET", "/v1/cache/1?prefix=q&keys_only=true").body);
  CHECK(key.at("entries").at(0).size() == 3);
  CHECK(key.at("entries").at(0).at("key") == "q");
  const Json types = Json::parse(node.Ask("GET", "/v1/cache").body);
  CHECK(types.at("types").at(1) == Json{{"type", 2}, {"entries", 1}, {"bytes", 4}});
}

TEST_CASE("rest: a write waits for acknowledgements without a worker, then says who is missing") {
  TestNode node({.workers = 1});
  node.AddReachablePeer("peer-a");
  RawClient writer(node.port());
  writer.Send(MakeRequest("PUT", "/v1/cache/1/k?timeout=10s", "v") +
              MakeRequest("GET", "/healthz"));
  // The only worker answers others meanwhile, and the write can be read already.
  const auto deadline = std::chrono::steady_clock::now() + 10s;
  while (node.Ask("GET", "/v1/cache/1/k").status != 200) {
    REQUIRE(std::chrono::steady_clock::now() < deadline);
  }
  CHECK_FALSE(writer.HasInput());
  node.RemovePeers();
  const auto answer = writer.Read();
  CHECK(answer->status == 200);
  CHECK(writer.Read()->body == "ok\n");

  node.AddReachablePeer("peer-b");
  const RawAnswer late = node.Ask("PUT", "/v1/cache/1/k?timeout=50ms", "v");
  CHECK(late.status == 202);
  CHECK(Json::parse(late.body).at("ack") ==
        Json{{"required", "all"}, {"peers", 1}, {"acked", 0}, {"pending", {"peer-b"}}});
  CHECK(node.Ask("PUT", "/v1/cache/1/k?ack=local", "v").status == 200);
  const Json peers = Json::parse(node.Ask("GET", "/v1/peers").body);
  CHECK(peers.at("peers").at(0).at("name") == "peer-b");
}

TEST_CASE("rest: data waits until the pod is ready, health and status do not") {
  TestNode node({.start_ready = false});
  for (const auto& [method, target] :
       std::vector<std::pair<std::string, std::string>>{{"GET", "/v1/cache/1/k"},
                                                        {"PUT", "/v1/cache/1/k"},
                                                        {"DELETE", "/v1/cache/1/k"},
                                                        {"GET", "/v1/cache"},
                                                        {"GET", "/v1/cache/1"}}) {
    CAPTURE(method, target);
    const RawAnswer answer = node.Ask(method, target);
    CHECK(answer.status == 503);
    CHECK(answer.problem() == "not-ready");
    CHECK(answer.fields.contains("retry-after"));
  }
  CHECK(node.Ask("POST", "/v1/cache", "{}").problem() == "not-ready");
  CHECK(node.Ask("GET", "/healthz").status == 200);
  const RawAnswer readyz = node.Ask("GET", "/readyz");
  CHECK(readyz.status == 503);
  CHECK(readyz.problem() == "not-ready");
  CHECK_FALSE(Json::parse(readyz.body).at("detail").get<std::string>().empty());
  CHECK(node.Ask("GET", "/v1/peers").status == 200);
  CHECK(node.Ask("GET", "/metrics").status == 200);
  CHECK(Json::parse(node.Ask("GET", "/v1/status").body).at("state") == "bootstrapping");
  node.BecomeReady();
  CHECK(node.Ask("GET", "/readyz").status == 200);
  CHECK(node.Ask("GET", "/v1/cache/1/k").status == 404);
}

TEST_CASE("rest: a draining pod serves reads and refuses writes") {
  TestNode node;
  node.Ask("PUT", "/v1/cache/1/k", "v");
  node.driver.BeginDrain();
  CHECK(node.Ask("GET", "/v1/cache/1/k").body == "v");
  CHECK(node.Ask("GET", "/v1/cache/1").status == 200);
  const RawAnswer put = node.Ask("PUT", "/v1/cache/1/k", "w");
  CHECK(put.status == 503);
  CHECK(put.problem() == "draining");
  CHECK(node.Ask("GET", "/readyz").problem() == "draining");
  CHECK(node.Ask("GET", "/healthz").status == 200);
  CHECK(Json::parse(node.Ask("GET", "/v1/status").body).at("state") == "draining");
}

TEST_CASE("rest: a pod that is leaving says so, takes writes, and keeps no connection") {
  TestNode node;
  RawClient kept(node.port());
  kept.Send(MakeRequest("PUT", "/v1/cache/1/k", "v", ""));
  const auto first = kept.Read();
  REQUIRE(first);
  CHECK_FALSE(first->fields.contains("connection"));

  node.driver.Leave();
  node.server.Leave();
  CHECK(node.Ask("GET", "/readyz").problem() == "draining");
  const Json status = Json::parse(node.Ask("GET", "/v1/status").body);
  CHECK(status.at("state") == "draining");
  CHECK(status.at("ready") == false);
  CHECK(node.Ask("GET", "/healthz").status == 200);
  for (const std::string_view method : {"PUT", "GET", "DELETE"}) {
    RawClient client(node.port());
    client.Send(MakeRequest(method, "/v1/cache/1/l", method == "PUT" ? "w" : "", ""));
    const auto answer = client.Read();
    REQUIRE(answer);
    CHECK(answer->status == 200);
    CHECK(answer->fields.at("connection") == "close");
    CHECK(client.Closed());
  }
  kept.Send(MakeRequest("GET", "/v1/cache/1/k", "", ""));
  const auto last = kept.Read();
  REQUIRE(last);
  CHECK(last->body == "v");
  CHECK(last->fields.at("connection") == "close");
  CHECK(kept.Closed());
}

TEST_CASE("rest: a daemon that is ill fails its health check, and says why") {
  TestNode node({.illness = "it stands still"});
  const RawAnswer healthz = node.Ask("GET", "/healthz");
  CHECK(healthz.status == 503);
  CHECK(Json::parse(healthz.body).at("detail") == "it stands still");
  CHECK(node.Ask("GET", "/readyz").status == 200);
}

TEST_CASE("rest: a full memory refuses new data, not reads and deletes") {
  TestNode node({.max_memory = 4096});
  RawAnswer put;
  int stored = 0;
  while ((put = node.Ask("PUT", "/v1/cache/1/" + std::to_string(stored), "v")).status == 200) {
    ++stored;
    REQUIRE(stored < 1000);
  }
  CHECK(put.status == 507);
  CHECK(put.problem() == "out-of-memory");
  CHECK(stored > 0);
  CHECK(node.Ask("GET", "/v1/cache/1/0").body == "v");
  CHECK(node.Ask("POST", "/v1/cache", R"({"touch":[{"type":1,"keys":["0"],"ttl":"1h"}]})").status ==
        200);
  CHECK(node.Ask("DELETE", "/v1/cache/1/0").status == 200);
  CHECK(node.Ask("DELETE", "/v1/cache/1?prefix=").status == 200);
  CHECK(node.cache.Stats().entries == 0);
}

TEST_CASE("rest: values that are too large together are not touched") {
  TestNode node;
  const std::string half(sync::kMaxTouchedBytes / 2, 'v');
  for (const char* key : {"a", "b", "c"}) node.cache.Merge(Entry::Make(1, key, half, {1, 1}), 0);
  const auto touch = [&node](const std::string& keys) {
    return node.Ask("POST", "/v1/cache",
                    R"({"touch":[{"type":1,"keys":[)" + keys + R"(],"ttl":"1h"}]})");
  };
  CHECK(touch(R"("a","b")").status == 200);
  const std::uint64_t digest = node.cache.digest();
  const RawAnswer refused = touch(R"("a","b","c")");
  CHECK(refused.status == 413);
  CHECK(refused.problem() == "batch-too-large");
  CHECK(node.cache.digest() == digest);
}

TEST_CASE("rest: status tells all that the contract lists") {
  TestNode node;
  node.Ask("PUT", "/v1/cache/1/k", "v");
  const Json json = Json::parse(node.Ask("GET", "/v1/status").body);
  std::vector<std::string> names;
  for (const auto& [name, value] : json.items()) names.push_back(name);
  CHECK(names == std::vector<std::string>{"bootstrap", "bytes", "cluster", "digest", "discovery",
                                          "entries", "incarnation", "name", "namespace", "ready",
                                          "reason", "state", "tombstones", "uid", "uptime_ms",
                                          "version"});
  CHECK(json.at("name") == "self");
  CHECK(json.at("state") == "ready");
  CHECK(json.at("ready") == true);
  CHECK(json.at("reason") == "");
  CHECK(json.at("entries") == 1);
  CHECK(json.at("digest").get<std::string>().size() == 16);
  CHECK(json.at("digest") != "0000000000000000");
  CHECK(json.at("incarnation").get<std::string>().size() == 16);
  CHECK(json.at("discovery") == Json{{"source", "static"},
                                     {"healthy", true},
                                     {"peers", 0},
                                     {"revision", 7},
                                     {"age_ms", 1},
                                     {"error", ""}});
  CHECK(json.at("bootstrap").size() == 4);
  const RawAnswer metrics = node.Ask("GET", "/metrics");
  CHECK(metrics.body.find("podmirror_rest_request_seconds_count{") != std::string::npos);
  CHECK(metrics.body.find("route=\"cache_entry\"") != std::string::npos);
  // Closed connections stop being counted.
  const auto deadline = std::chrono::steady_clock::now() + 10s;
  while (node.Ask("GET", "/metrics").body.find("\npodmirror_rest_connections 1\n") ==
         std::string::npos) {
    REQUIRE(std::chrono::steady_clock::now() < deadline);
  }
}

}  // namespace
}  // namespace podmirror::rest
