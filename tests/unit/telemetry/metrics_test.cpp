#include "telemetry/metrics.h"

#include <catch2/catch.hpp>
#include <map>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

namespace podmirror::telemetry {
namespace {

using Series = std::map<std::string, double>;

// The samples of a scrape by series; every series comes once.
Series Samples(const Metrics& metrics) {
  Series series;
  std::istringstream text(metrics.Render());
  for (std::string line; std::getline(text, line);) {
    if (line.starts_with('#')) continue;
    const std::size_t space = line.rfind(' ');
    CHECK(series.emplace(line.substr(0, space), std::stod(line.substr(space))).second);
  }
  return series;
}

bool Mentions(const Metrics& metrics, const std::string& text) {
  return metrics.Render().find(text) != std::string::npos;
}

TEST_CASE("a scrape shows what was counted") {
  Metrics metrics;
  metrics.RestRequest("PUT", "cache_entry", 200, 0.00004);
  metrics.RestRequest("PUT", "cache_entry", 200, 3);
  metrics.RestRequest("PUT", "cache_entry", 404, 0.00004);
  metrics.RestConnections(8);
  metrics.RestConnections(-1);
  metrics.DiscoveryEvent("relist");
  metrics.DiscoveryEvent("relist");
  metrics.Repair("connect", 5);
  metrics.Repair("periodic", 2);
  metrics.PeerEvent("lost");
  metrics.LegacyValueSkipped(3);

  const Series lines = Samples(metrics);
  const std::string put = R"(code="200",method="PUT",route="cache_entry")";
  CHECK(lines.at("podmirror_rest_request_seconds_count{" + put + "}") == 2);
  CHECK(lines.at("podmirror_rest_request_seconds_bucket{" + put + R"(,le="2.5e-05"})") == 0);
  CHECK(lines.at("podmirror_rest_request_seconds_bucket{" + put + R"(,le="5e-05"})") == 1);
  CHECK(lines.at("podmirror_rest_request_seconds_bucket{" + put + R"(,le="+Inf"})") == 2);
  CHECK(lines.at("podmirror_rest_connections") == 7);
  CHECK(lines.at(R"(podmirror_discovery_events_total{type="relist"})") == 2);
  CHECK(lines.at(R"(podmirror_repairs_total{reason="connect"})") == 1);
  CHECK(lines.at("podmirror_repaired_entries_total") == 7);
  CHECK(lines.at(R"(podmirror_peer_events_total{type="lost"})") == 1);
  CHECK(lines.at("podmirror_legacy_values_skipped_total") == 3);
}

TEST_CASE("a scrape shows the moment's gauges, and peers that left vanish") {
  Metrics metrics;
  Snapshot now;
  now.entries = 3;
  now.tombstones = 2;
  now.bytes = 100;
  now.memory_bytes = 500;
  now.watchers = 4;
  now.ready = true;
  now.discovery_healthy = true;
  now.discovery_self_listed = true;
  now.discovery_age_seconds = 1.5;
  now.bootstrap_seconds = 0.25;
  now.expired = 7;
  now.peers = {{"pod-a", "streaming", 10, 0.5, -3}, {"pod-b", "connecting", 20, 4, 0}};
  now.log_dropped = 17;
  metrics.SetSnapshotSource([&now] { return now; });

  const Series before = Samples(metrics);
  CHECK(before.at("podmirror_entries") == 3);
  CHECK(before.at("podmirror_tombstones") == 2);
  CHECK(before.at("podmirror_bytes") == 100);
  CHECK(before.at("podmirror_memory_bytes") == 500);
  CHECK(before.at("podmirror_watchers") == 4);
  CHECK(before.at("podmirror_ready") == 1);
  CHECK(before.at("podmirror_discovery_healthy") == 1);
  CHECK(before.at("podmirror_discovery_self_listed") == 1);
  CHECK(before.at("podmirror_discovery_age_seconds") == 1.5);
  CHECK(before.at("podmirror_bootstrap_seconds") == 0.25);
  CHECK(before.at(R"(podmirror_peers{state="streaming"})") == 1);
  CHECK(before.at(R"(podmirror_peers{state="repairing"})") == 0);
  CHECK(before.at(R"(podmirror_behind_bytes{peer="pod-b"})") == 20);
  CHECK(before.at(R"(podmirror_replication_lag_seconds{peer="pod-a"})") == 0.5);
  CHECK(before.at(R"(podmirror_clock_ahead_seconds{peer="pod-a"})") == -3);
  CHECK(before.at("podmirror_expired_total") == 7);
  CHECK(before.at("podmirror_log_dropped_total") == 17);
  CHECK(Mentions(metrics, "podmirror_build_info{version=\""));

  now.peers.pop_back();
  now.ready = false;
  const Series after = Samples(metrics);
  CHECK(after.at("podmirror_ready") == 0);
  CHECK(after.at(R"(podmirror_peers{state="connecting"})") == 0);
  CHECK_FALSE(Mentions(metrics, "pod-b"));
  CHECK(Mentions(metrics, "pod-a"));
}

TEST_CASE("two records of one name make one sample, the worse one") {
  Metrics metrics;
  metrics.SetSnapshotSource([] {
    Snapshot now;
    now.peers = {{"db-0", "streaming", 1, 9, 0}, {"db-0", "connecting", 8, 2, 0}};
    return now;
  });
  const Series series = Samples(metrics);
  CHECK(series.at(R"(podmirror_behind_bytes{peer="db-0"})") == 8);
  CHECK(series.at(R"(podmirror_replication_lag_seconds{peer="db-0"})") == 9);
}

TEST_CASE("hostile names break neither the format nor the bounds") {
  Metrics metrics;
  metrics.SetSnapshotSource([] {
    Snapshot now;
    now.peers = {{"a\"} 1\nevil 2\xff", "streaming", 0, 0}};
    return now;
  });
  for (int i = 0; i < 100; ++i) {
    metrics.RestRequest("METHOD" + std::to_string(i), "unknown", 400, 0.001);
  }
  CHECK(Mentions(metrics, R"(peer="a\"} 1?evil 2?")"));
  const Series series = Samples(metrics);
  for (const auto& [name, value] : series) CHECK(name.starts_with("podmirror_"));
  CHECK(series.at(R"(podmirror_rest_request_seconds_count)"
                  R"({code="400",method="other",route="unknown"})") == 100);
}

TEST_CASE("requests are counted exactly when many threads meet a new route") {
  Metrics metrics;
  constexpr int kThreads = 4;
  constexpr int kEach = 1000;
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&metrics] {
      for (int i = 0; i < kEach; ++i) {
        metrics.RestRequest("GET", "route" + std::to_string(i % 7), 200, 0.001);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  double total = 0;
  for (const auto& [name, value] : Samples(metrics)) {
    if (name.starts_with("podmirror_rest_request_seconds_count")) total += value;
  }
  CHECK(total == kThreads * kEach);
}

}  // namespace
}  // namespace podmirror::telemetry
