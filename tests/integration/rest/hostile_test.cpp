// Clients that lie, flood or dawdle: they get an answer or are cut, and nobody else notices.
#include <algorithm>
#include <catch2/catch.hpp>
#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "raw_client.h"
#include "rest_testing.h"

namespace podmirror::rest {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

constexpr std::int64_t kMaxGrowth = 64 << 20;

// The limits of a daemon with default settings.
const TestNodeOptions kDefaults{.max_value_bytes = 1 << 20, .max_batch_bytes = 16 << 20};

void CheckHealthy(TestNode& node) {
  const auto begin = Clock::now();
  CHECK(node.Ask("GET", "/healthz").status == 200);
  CHECK(Clock::now() - begin < 1s);
}

TEST_CASE("hostile: framing that lies gets one 4xx and the end") {
  TestNode node(kDefaults);
  const std::string put = "PUT /v1/cache/1/k HTTP/1.1\r\nHost: h\r\n";
  const std::vector<std::pair<std::string, int>> examples = {
      {put + "Content-Length: 1\r\nContent-Length: 1\r\n\r\nv", 400},
      {put + "Content-Length: 1\r\nContent-Length: 2\r\n\r\nvv", 400},
      {put + "Content-Length: 1x\r\n\r\nv", 400},
      {put + "Content-Length: -1\r\n\r\nv", 400},
      {put + "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
      {put + "Transfer-Encoding: chunked\r\n\r\nzz\r\n", 400},
      {put + "Transfer-Encoding: gzip\r\n\r\n", 400},
      {put + "Content-Length: 1073741824\r\n\r\nv", 413},
      {put + "Content-Length: 99999999999999999999999999\r\n\r\nv", 413},
      {put + "Transfer-Encoding: chunked\r\n\r\n40000000\r\nv", 413},
      {"\x16\x03\x01\x02\x00\x01\r\n\r\n", 400},
      {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400},
  };
  for (const auto& [bytes, status] : examples) {
    CAPTURE(bytes);
    RawClient client(node.port());
    const auto answer = client.Ask(bytes + MakeRequest("GET", "/healthz"));
    REQUIRE(answer);
    CHECK(answer->status == status);
    CHECK(answer->fields.at("content-type") == "application/problem+json");
    CHECK(answer->fields.at("connection") == "close");
    // What follows cannot be trusted to be a request.
    CHECK(client.Closed());
  }
  CHECK(node.cache.Stats().entries == 0);
}

TEST_CASE("hostile: endless request lines, headers and bodies are refused early") {
  TestNode node(kDefaults);
  const std::int64_t before = ResidentBytes();
  const std::vector<std::pair<std::string, std::string>> floods = {
      {"GET /", std::string(65536, 'a')},
      {"GET / HTTP/1.1\r\nHost: h\r\n",
       [] {
         std::string lines;
         while (lines.size() < 65536) lines += "x: y\r\n";
         return lines;
       }()},
      {"PUT /v1/cache/1/k HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n",
       "10000\r\n" + std::string(65536, 'v') + "\r\n"},
      {"PUT /v1/cache/1/k HTTP/1.1\r\nHost: h\r\nContent-Length: 1073741824\r\n\r\n",
       std::string(65536, 'v')},
  };
  const std::vector<int> statuses = {431, 431, 413, 413};
  for (std::size_t i = 0; i < floods.size(); ++i) {
    RawClient client(node.port());
    client.Send(floods[i].first);
    std::size_t sent = 0;
    // A flood that goes on after the answer is cut; one that stops gets to read it.
    while (!client.HasInput() && sent < (256u << 20) && client.Send(floods[i].second)) {
      sent += floods[i].second.size();
    }
    CHECK(sent < (16u << 20));
    const auto answer = client.Read();
    REQUIRE(answer);
    CHECK(answer->status == statuses[i]);
    while (client.Send(floods[i].second) && sent < (256u << 20)) sent += floods[i].second.size();
    CHECK(sent < (96u << 20));
    CheckHealthy(node);
  }
  CHECK(ResidentBytes() - before < kMaxGrowth);
}

TEST_CASE("hostile: a value over the limit is refused, and the answer can be read") {
  TestNode node(kDefaults);
  // A client that sends all before it reads must not be cut off while it does.
  RawClient client(node.port());
  CHECK(client.Send(MakeRequest("PUT", "/v1/cache/1/k", std::string(8 << 20, 'v'))));
  const auto answer = client.Read();
  REQUIRE(answer);
  CHECK(answer->status == 413);
  CHECK(answer->problem() == "value-too-large");
  CHECK(node.Ask("PUT", "/v1/cache/1/k", std::string(1 << 20, 'v')).status == 200);
  CHECK(node.Ask("GET", "/v1/cache/1/k").body.size() == 1 << 20);
}

TEST_CASE("hostile: a compressed body is refused, not unpacked") {
  TestNode node(kDefaults);
  const std::int64_t before = ResidentBytes();
  // The front of a gzip stream; what counts is that nobody looks inside.
  const RawAnswer answer =
      node.Ask("PUT", "/v1/cache/1/k", std::string("\x1f\x8b\x08", 3) + std::string(300'000, '\0'),
               "Content-Encoding: gzip\r\n");
  CHECK(answer.status == 415);
  CHECK(answer.problem() == "unsupported-encoding");
  CHECK(ResidentBytes() - before < kMaxGrowth);
  CHECK(node.cache.Stats().entries == 0);
}

TEST_CASE("hostile: pipelined requests are all answered, in order") {
  TestNode node(kDefaults);
  std::string requests;
  for (int i = 0; i < 1000; ++i) {
    requests += MakeRequest("PUT", "/v1/cache/1/k", std::to_string(i));
    requests += MakeRequest("GET", "/v1/cache/1/k");
  }
  RawClient client(node.port());
  client.Send(requests);
  for (int i = 0; i < 1000; ++i) {
    REQUIRE(client.Read()->status == 200);
    REQUIRE(client.Read()->body == std::to_string(i));
  }
}

TEST_CASE("hostile: a thousand idle connections cost nobody anything") {
  TestNode node(kDefaults);
  const std::int64_t before = ResidentBytes();
  std::vector<std::unique_ptr<RawClient>> idle;
  for (int i = 0; i < 1000; ++i) idle.push_back(std::make_unique<RawClient>(node.port()));
  for (int i = 0; i < 10; ++i) CheckHealthy(node);
  CHECK(node.Ask("PUT", "/v1/cache/1/k", "v").status == 200);
  CHECK(ResidentBytes() - before < kMaxGrowth);
  CHECK(idle[500]->Ask(MakeRequest("GET", "/v1/cache/1/k"))->body == "v");
}

TEST_CASE("hostile: health answers beyond the connection limit") {
  TestNode node({.max_connections = 20});
  std::vector<std::unique_ptr<RawClient>> idle;
  for (int i = 0; i < 300; ++i) idle.push_back(std::make_unique<RawClient>(node.port()));
  CheckHealthy(node);
  CHECK(node.Ask("GET", "/v1/cache").status == 503);
  CHECK(node.Ask("GET", "/v1/cache").problem() == "overloaded");
  CHECK(node.Ask("GET", "/readyz").status == 200);
}

TEST_CASE("hostile: a request that dawdles is cut after the request timeout") {
  TestNode node({.request_timeout_ms = 500});
  // Headers, then a body, byte by byte: each byte is in time, the request is not.
  for (const std::string& start :
       {std::string("GET / HTTP/1.1\r\nHost: h\r\n"),
        std::string("PUT /v1/cache/1/k HTTP/1.1\r\nHost: h\r\nContent-Length: 1000\r\n\r\n")}) {
    RawClient client(node.port());
    client.Send(start);
    const auto begin = Clock::now();
    while (!client.HasInput() && Clock::now() - begin < 10s) {
      client.Send("a");
      std::this_thread::sleep_for(20ms);
    }
    const auto answer = client.Read();
    REQUIRE(answer);
    CHECK(answer->status == 408);
    CHECK(answer->problem() == "invalid-request");
    CHECK(Clock::now() - begin >= 400ms);
    CHECK(Clock::now() - begin < 1500ms);
    CHECK(client.Closed());
  }
  // A connection that lives longer than that is no crime.
  RawClient patient(node.port());
  const auto begin = Clock::now();
  while (Clock::now() - begin < 800ms) {
    CHECK(patient.Ask(MakeRequest("GET", "/healthz"))->status == 200);
    std::this_thread::sleep_for(20ms);
  }
}

TEST_CASE("hostile: a body cut off half-way changes nothing") {
  TestNode node(kDefaults);
  {
    RawClient client(node.port());
    client.Send("PUT /v1/cache/1/k HTTP/1.1\r\nHost: h\r\nContent-Length: 1000\r\n\r\n" +
                std::string(500, 'v'));
    client.FinishSending();
    CHECK(client.Closed());
    RawClient chunked(node.port());
    chunked.Send(
        "PUT /v1/cache/1/k HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nab");
    chunked.FinishSending();
    CHECK(chunked.Closed());
  }
  CheckHealthy(node);
  CHECK(node.cache.Stats().entries == 0);
}

TEST_CASE("hostile: bodies that never end are bounded in memory") {
  TestNode node(kDefaults);
  const std::int64_t before = ResidentBytes();
  std::vector<std::unique_ptr<RawClient>> clients;
  for (int i = 0; i < 300; ++i) {
    clients.push_back(std::make_unique<RawClient>(node.port()));
    clients.back()->Send(
        "PUT /v1/cache/1/k HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n\r\n" +
        std::string(500'000, 'v'));
  }
  CheckHealthy(node);
  CHECK(ResidentBytes() - before < kMaxGrowth);
  const auto told = std::count_if(clients.begin(), clients.end(), [](const auto& client) {
    if (!client->HasInput()) return false;
    const auto answer = client->Read();
    return answer && answer->status == 503 && answer->problem() == "overloaded";
  });
  CHECK(told > 100);
  // Small requests go on.
  CHECK(node.Ask("PUT", "/v1/cache/1/k", "v").status == 200);
}

}  // namespace
}  // namespace podmirror::rest
