// Writes on a condition, as clients of REST see them.
#include <catch2/catch.hpp>
#include <future>
#include <string>

#include "cache/entry.h"
#include "integration/rest/rest_testing.h"

namespace podmirror::rest {
namespace {

constexpr const char* kPath = "/v1/cache/1/k";

std::string IfMatch(const std::string& version) { return "If-Match: \"" + version + "\"\r\n"; }

std::string HeldIn(const Cache& cache) { return cache.Peek(1, "k")->version().ToString(); }

TEST_CASE("a write on nothing, then on the version that is there") {
  TestNode node;
  node.BecomeReady();
  CHECK(node.Ask("PUT", kPath, "one", "If-None-Match: *\r\n").status == 200);
  const std::string first = HeldIn(node.cache);

  const RawAnswer refused = node.Ask("PUT", kPath, "two", "If-None-Match: *\r\n");
  CHECK(refused.status == 412);
  CHECK(refused.problem() == "precondition-failed");
  CHECK(refused.body.find("\"version\":\"" + first + "\"") != std::string::npos);
  CHECK(refused.fields.at("etag") == "\"" + first + "\"");

  const RawAnswer done = node.Ask("PUT", kPath, "two", IfMatch(first));
  CHECK(done.status == 200);
  CHECK(done.body.find("\"required\":\"all\"") != std::string::npos);
  const std::string second = HeldIn(node.cache);
  CHECK(node.Ask("DELETE", kPath, "", IfMatch(first)).status == 412);
  CHECK(node.Ask("DELETE", kPath, "", IfMatch(second)).status == 200);

  const RawAnswer gone = node.Ask("PUT", kPath, "three", IfMatch(second));
  CHECK(gone.status == 412);
  CHECK(gone.body.find("\"version\":null") != std::string::npos);
  CHECK_FALSE(gone.fields.contains("etag"));
  CHECK(node.Ask("GET", kPath).status == 404);
}

TEST_CASE("all others are asked: one that does not answer is pending") {
  TestNode node;
  node.BecomeReady();
  node.AddReachablePeer("pod-2");
  const RawAnswer open =
      node.Ask("PUT", std::string(kPath) + "?timeout=100ms", "v", "If-None-Match: *\r\n");
  CHECK(open.status == 202);
  CHECK(open.body.find("\"pending\":[\"pod-2\"]") != std::string::npos);
}

TEST_CASE("a greater write of another pod that did not see this one is a conflict") {
  TestNode node;
  node.BecomeReady();
  node.AddReachablePeer("pod-2");
  auto lost = std::async(std::launch::async, [&node] {
    return node.Ask("PUT", std::string(kPath) + "?timeout=60s", "v", "If-None-Match: *\r\n");
  });
  REQUIRE(Eventually([&node] { return static_cast<bool>(node.cache.Peek(1, "k")); }));
  sync::Hello hello;
  hello.self.name = "pod-2";
  hello.self.uid = "uid-pod-2";
  hello.self.cluster = "default/test";
  hello.self.incarnation = 2;
  const sync::ConnId conn = node.driver.Accept();
  node.driver.Receive(conn, hello);
  const Version winner{node.driver.Status().hlc + 1, 2};
  const EntryRef theirs = Entry::Make(1, "k", "theirs", winner);
  node.driver.Receive(conn, sync::Batch{1, 1, {theirs}, {{0, sync::Base{{}, true, false}}}});
  const RawAnswer answer = lost.get();
  CHECK(answer.status == 409);
  CHECK(answer.problem() == "conflict");
  CHECK(answer.body.find("\"winner\":\"" + winner.ToString() + "\"") != std::string::npos);
}

}  // namespace
}  // namespace podmirror::rest
