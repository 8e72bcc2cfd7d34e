#include <httplib.h>

#include <catch2/catch.hpp>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "fixture_path.h"
#include "recorder.h"
#include "test_etcd.h"

namespace podmirror::discovery {
namespace {

using nlohmann::json;
using std::chrono::milliseconds;

Result<std::unique_ptr<PeerSource>> Source(const EtcdOptions& options,
                                           telemetry::Metrics& metrics) {
  return NewEtcdV2Source(options, FilterFor("default", "relay"), metrics, Env::Real());
}

TEST_CASE("v2: the real answer of 2017 holds the pod hello-web") {
  TestEtcd etcd;
  telemetry::Metrics metrics;
  std::ifstream stream(FixturePath("etcd-v2-2017/registry-pods-default.json"));
  const json answer = json::parse(stream);
  for (const json& node : answer.at("node").at("nodes")) {
    etcd.V2Put(node.at("key"), node.at("value"));
  }
  PodFilter filter = FilterFor("default", "hello-web");
  Running source(NewEtcdV2Source(etcd.options(), filter, metrics, Env::Real()));
  REQUIRE(source.WaitForNames({"hello-web-29a74e26ea3c2138e1727f35a111f4c6-dknwh"}));
  const PodRecord peer = source.seen().set->peers[0];
  CHECK(peer.ip == "172.80.13.4");
  CHECK(peer.uid == "09c45029-3fa0-11e7-a46c-00163e327954");
  CHECK(peer.started_at_ms == 1495534229000);  // 2017-05-23T10:10:29Z
  CHECK(peer.ready);
  CHECK(peer.port == 7070);
}

TEST_CASE("v2: pods added, changed and deleted are seen within a second") {
  TestEtcd etcd;
  telemetry::Metrics metrics;
  Running source(Source(etcd.options(), metrics));
  REQUIRE(source.WaitForNames({}));  // the directory is not there yet
  CHECK(source.seen().set->where == "/registry/pods/default");
  etcd.V2Put(Key(1), PodJson(1));
  REQUIRE(source.WaitForNames({"relay-1"}, milliseconds(1000)));
  etcd.V2Put(Key(2), PodJson(2));
  etcd.V2Put("/registry/pods/default/deeper/relay-3", PodJson(3));
  etcd.V2Put("/registry/pods/default/_hidden", PodJson(4));
  etcd.V2Put("/registry/pods/default-two/relay-5", PodJson(5));
  REQUIRE(source.WaitForNames({"relay-1", "relay-2", "relay-3"}, milliseconds(1000)));
  std::string moved = PodJson(1);
  moved.replace(moved.find("10.0.0.1"), 8, "10.9.9.9");
  etcd.V2Put(Key(1), moved);
  REQUIRE(source.WaitFor([](const Seen& seen) { return seen.set->peers[0].ip == "10.9.9.9"; },
                         milliseconds(1000)));
  etcd.V2Put(Key(1), "garbage");
  REQUIRE(source.WaitFor([](const Seen& seen) { return seen.unreadable.size() == 1; }));
  etcd.V2Delete(Key(1), false);
  REQUIRE(source.WaitForNames({"relay-2", "relay-3"}, milliseconds(1000)));
  etcd.V2Delete("/registry/pods/default/deeper", true);
  REQUIRE(source.WaitForNames({"relay-2"}, milliseconds(1000)));
  etcd.V2Delete("/registry/pods/default", true);
  REQUIRE(source.WaitForNames({}, milliseconds(1000)));
  etcd.V2Put(Key(6), PodJson(6));
  REQUIRE(source.WaitForNames({"relay-6"}, milliseconds(1000)));
  CHECK(source.seen().errors.empty());
  CHECK(source.TimeStop() < milliseconds(1000));
}

TEST_CASE("v2: a burst of more events than the history holds is followed to its end") {
  TestEtcd etcd;
  telemetry::Metrics metrics;
  Running source(Source(etcd.options(), metrics));
  REQUIRE(source.WaitForNames({}));
  httplib::Client client("127.0.0.1", etcd.port());
  client.set_keep_alive(true);
  client.set_tcp_nodelay(true);
  for (int i = 0; i < 1200; ++i) {
    REQUIRE(client.Put("/v2/keys/elsewhere", httplib::Params{{"value", "x"}}));
  }
  etcd.V2Put(Key(1), PodJson(1));
  REQUIRE(source.WaitForNames({"relay-1"}));
  source->Refresh();
  etcd.V2Put(Key(2), PodJson(2));
  REQUIRE(source.WaitForNames({"relay-1", "relay-2"}));
  CHECK(source.seen().errors.empty());
}

TEST_CASE("v2: an etcd that is not there is told, found when it comes, and again after its death") {
  TestEtcd etcd(FreePort());
  telemetry::Metrics metrics;
  Running source(Source(etcd.options(), metrics));
  REQUIRE(source.WaitFor([](const Seen& seen) { return !seen.errors.empty(); }));
  CHECK(source.seen().errors[0].find("etcd " + etcd.url() + ": connection refused") == 0);
  CHECK_FALSE(source.seen().set.has_value());
  etcd.Start();
  etcd.V2Put(Key(1), PodJson(1));
  REQUIRE(source.WaitForNames({"relay-1"}));
  const std::size_t errors = source.seen().errors.size();
  etcd.Kill();
  REQUIRE(source.WaitFor([&](const Seen& seen) { return seen.errors.size() > errors; }));
  CHECK(source.seen().names() == Names{"relay-1"});
  etcd.Start();
  etcd.V2Put(Key(2), PodJson(2));
  REQUIRE(source.WaitForNames({"relay-1", "relay-2"}));
}

TEST_CASE("v2: refresh ends the poll and reads again, once") {
  TestEtcd etcd;
  telemetry::Metrics metrics;
  Running source(Source(etcd.options(), metrics));
  REQUIRE(source.WaitForNames({}));
  source->Refresh();
  REQUIRE(source.WaitFor([](const Seen& seen) { return seen.answers >= 2; }));
  CHECK_FALSE(source.WaitFor([](const Seen& seen) { return seen.answers > 2; }, milliseconds(300)));
  CHECK(source.seen().errors.empty());
}

TEST_CASE("v2: refreshes without a pause read once a second") {
  TestEtcd etcd;
  telemetry::Metrics metrics;
  const Stopwatch stopwatch;
  Running source(Source(etcd.options(), metrics));
  REQUIRE(source.RefreshUntilAnswers(4));
  CHECK(stopwatch.ms() >= 2990);
  CHECK(stopwatch.ms() < 6000);
  CHECK(source.seen().errors.empty());
}

TEST_CASE("v2: directories that expire or are deleted take their records with them") {
  TestEtcd etcd;
  telemetry::Metrics metrics;
  httplib::Client client("127.0.0.1", etcd.port());
  const auto directory = [&](const std::string& name, const char* ttl) {
    httplib::Params params = {{"dir", "true"}};
    if (*ttl != '\0') params.emplace("ttl", ttl);
    REQUIRE(client.Put("/v2/keys/registry/pods/default/" + name, params));
  };
  directory("short", "1");
  directory("long", "");
  etcd.V2Put("/registry/pods/default/short/relay-1", PodJson(1));
  etcd.V2Put("/registry/pods/default/long/relay-2", PodJson(2));
  etcd.V2Put(Key(3), PodJson(3));
  Running source(Source(etcd.options(), metrics));
  REQUIRE(source.WaitForNames({"relay-2", "relay-3"}));
  etcd.V2Delete("/registry/pods/default/long", true);
  REQUIRE(source.WaitForNames({"relay-3"}, milliseconds(1000)));
  etcd.V2Put("/registry/pods/default/long/relay-4", PodJson(4));
  REQUIRE(source.WaitForNames({"relay-3", "relay-4"}, milliseconds(1000)));
  etcd.V2Delete("/registry", true);  // far above what is watched
  REQUIRE(source.WaitForNames({}, milliseconds(1000)));
  CHECK(source.seen().errors.empty());
}

TEST_CASE("v2: stop returns within a second from a poll and from a silent server") {
  telemetry::Metrics metrics;
  SECTION("poll") {
    TestEtcd etcd;
    Running source(Source(etcd.options(), metrics));
    REQUIRE(source.WaitForNames({}));
    CHECK(source.TimeStop() < milliseconds(1000));
  }
  SECTION("an etcd that has stopped working") {
    TestEtcd etcd;
    etcd.Pause();
    Running source(Source(etcd.options(), metrics));
    REQUIRE_FALSE(
        source.WaitFor([](const Seen& seen) { return seen.answers > 0; }, milliseconds(300)));
    CHECK(source.TimeStop() < milliseconds(1000));
    etcd.Resume();
  }
}

}  // namespace
}  // namespace podmirror::discovery
