// Discovery through a real `etcd grpc-proxy`. It has one watch for all clients that watch the same,
// makes up the answer that opens it for all but the first of them, and keeps it open while the etcd
// behind it is gone.
#include <catch2/catch.hpp>
#include <memory>
#include <vector>

#include "recorder.h"
#include "test_etcd.h"
#include "test_proxy.h"

namespace podmirror::discovery {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

// A quiet watch is asked about every 10 s, or a quarter later; then etcd has some seconds to
// answer.
constexpr seconds kNoticed{40};

std::vector<std::unique_ptr<Running>> Sources(int count, const TestProxy& proxy,
                                              telemetry::Metrics& metrics) {
  std::vector<std::unique_ptr<Running>> sources;
  for (int i = 0; i < count; ++i) {
    sources.push_back(std::make_unique<Running>(
        NewEtcdV3Source(proxy.options(), FilterFor("default", "relay"), metrics, Env::Real())));
    REQUIRE(sources.back()->WaitFor([](const Seen& seen) { return seen.set.has_value(); }));
  }
  return sources;
}

bool Counted(const telemetry::Metrics& metrics, const std::string& type) {
  return metrics.Render().find("podmirror_discovery_events_total{type=\"" + type + "\"}") !=
         std::string::npos;
}

TEST_CASE("proxy: all who watch the same see what changes, by their watches alone") {
  TestEtcd etcd;
  const TestProxy proxy(etcd);
  telemetry::Metrics metrics;
  etcd.Put(Key(1), PodJson(1));
  const auto sources = Sources(4, proxy, metrics);
  for (const auto& source : sources) REQUIRE(source->WaitForNames({"relay-1"}));
  const std::int64_t revision = etcd.Put(Key(2), PodJson(2));
  for (const auto& source : sources) REQUIRE(source->WaitForNames({"relay-1", "relay-2"}));
  for (const auto& source : sources) CHECK(source->seen().revision == revision);
  etcd.Delete(Key(1));
  for (const auto& source : sources) REQUIRE(source->WaitForNames({"relay-2"}));
  for (const auto& source : sources) CHECK(source->seen().errors.empty());
  CHECK_FALSE(Counted(metrics, "error"));
  CHECK_FALSE(Counted(metrics, "relist"));
}

TEST_CASE("proxy: a quiet watch lives") {
  TestEtcd etcd;
  const TestProxy proxy(etcd);
  telemetry::Metrics metrics;
  const auto sources = Sources(2, proxy, metrics);
  // Each check is an answer. Pings every 10 s would have been too many by then.
  for (const auto& source : sources) {
    REQUIRE(source->WaitFor([](const Seen& seen) { return seen.answers >= 6; }, seconds(120)));
  }
  CHECK_FALSE(Counted(metrics, "error"));
  CHECK_FALSE(Counted(metrics, "relist"));
}

TEST_CASE("proxy: an etcd that is gone behind it is told, and found again") {
  TestEtcd etcd;
  const TestProxy proxy(etcd);
  telemetry::Metrics metrics;
  etcd.Put(Key(1), PodJson(1));
  const auto sources = Sources(2, proxy, metrics);
  etcd.Kill();
  for (const auto& source : sources) {
    REQUIRE(source->WaitFor([](const Seen& seen) { return !seen.errors.empty(); }, kNoticed));
    CHECK(source->seen().names() == Names{"relay-1"});
  }
  etcd.Start();
  etcd.Put(Key(2), PodJson(2));
  for (const auto& source : sources)
    REQUIRE(source->WaitForNames({"relay-1", "relay-2"}, kNoticed));
}

TEST_CASE("proxy: another cluster behind it is read from the start") {
  TestEtcd etcd;
  const TestProxy proxy(etcd);
  telemetry::Metrics metrics;
  for (int i = 1; i <= 5; ++i) etcd.Put(Key(i), PodJson(i));
  const auto sources = Sources(2, proxy, metrics);
  etcd.Kill();
  etcd.EraseData("another");
  etcd.Start();
  etcd.Put(Key(7), PodJson(7));
  for (const auto& source : sources) REQUIRE(source->WaitForNames({"relay-7"}, kNoticed));
}

TEST_CASE("proxy: daemons register through it, and are gone when they stop") {
  TestEtcd etcd;
  TestProxy proxy(etcd);
  telemetry::Metrics metrics;
  const auto registered = [&](int number) {
    RegistryOptions registry;
    const std::string n = std::to_string(number);
    registry.self = {.name = "n" + n, .ns = "", .uid = "u-" + n, .ip = "10.0.0." + n};
    registry.port = 7070;
    registry.service = "web";
    registry.ttl = seconds(2);
    return std::make_unique<Running>(
        NewRegistrySource(proxy.options(), std::move(registry), metrics, Env::Real()));
  };
  std::vector<std::unique_ptr<Running>> daemons;
  for (int number = 1; number <= 3; ++number) daemons.push_back(registered(number));
  REQUIRE(daemons[0]->WaitForNames({"n2", "n3"}));
  REQUIRE(daemons[1]->WaitForNames({"n1", "n3"}));
  REQUIRE(daemons[2]->WaitForNames({"n1", "n2"}));
  // Longer than entries live that are not kept alive.
  CHECK_FALSE(daemons[0]->WaitFor(
      [](const Seen& seen) {
        return seen.names() != Names{"n2", "n3"} || !seen.errors.empty();
      },
      seconds(6)));
  daemons[2].reset();
  REQUIRE(daemons[0]->WaitForNames({"n2"}));
  REQUIRE(daemons[1]->WaitForNames({"n1"}));
  CHECK_FALSE(Counted(metrics, "error"));
}

}  // namespace
}  // namespace podmirror::discovery
