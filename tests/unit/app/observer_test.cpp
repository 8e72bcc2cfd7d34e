#include "app/observer.h"

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>
#include <string>

#include "log_testing.h"

namespace podmirror::app {
namespace {

using sync::Event;
using sync::EventKind;

struct Fixture {
  TempFile file;
  Log log{file.fd(), LogLevel::kDebug, LogFormat::kJson, Env::Real()};
  telemetry::Metrics metrics;
  sync::Driver::Observer observe = NewObserver(log, metrics);

  nlohmann::json Observe(const Event& event) {
    const std::size_t before = LoggedSoFar(log, file).size();
    observe(event);
    const std::string after = LoggedSoFar(log, file).substr(before);
    // Behind the mark that ended what was there before.
    return nlohmann::json::parse(after.substr(after.find('\n') + 1));
  }
  bool Counted(const std::string& sample) const {
    return metrics.Render().find("\n" + sample + "\n") != std::string::npos;
  }
};

TEST_CASE("every event of the sync core becomes a line under its own name") {
  Fixture fixture;
  for (int i = 0; i <= static_cast<int>(EventKind::kDrained); ++i) {
    const auto kind = static_cast<EventKind>(i);
    const auto line = fixture.Observe({kind, "web-1", "why", {{"entries", 7}}});
    CHECK(line["event"] == sync::ToString(kind));
    CHECK(line["entries"] == 7);
    CHECK(line["msg"] != "unknown event");
  }
}

TEST_CASE("an event's peer and detail have names of their own, and are left out when empty") {
  Fixture fixture;
  const auto lost = fixture.Observe({EventKind::kPeerLost, "web-1", "connection refused", {}});
  CHECK(lost["peer"] == "web-1");
  CHECK(lost["error"] == "connection refused");
  CHECK(lost["level"] == "warn");
  const auto copied = fixture.Observe({EventKind::kBootstrapDone, "web-1", "copied", {{"ms", 12}}});
  CHECK(copied["donor"] == "web-1");
  CHECK(copied["ms"] == 12);
  const auto reason = fixture.Observe({EventKind::kNotReady, "", "waiting for web-2", {}});
  CHECK(reason["reason"] == "waiting for web-2");
  CHECK_FALSE(reason.contains("peer"));
}

TEST_CASE("links and repair passes are counted") {
  Fixture fixture;
  fixture.Observe({EventKind::kPeerConnected, "web-1", "podmirror.v1", {}});
  fixture.Observe({EventKind::kPeerLost, "web-1", "reset", {}});
  fixture.Observe({EventKind::kPeerLost, "web-1", "reset", {}});
  fixture.Observe({EventKind::kPeerRefused, "web-1", "other cluster", {}});
  fixture.Observe({EventKind::kRepairDone, "web-1", "periodic", {{"received", 3}, {"sent", 4}}});
  CHECK(fixture.Counted(R"(podmirror_peer_events_total{type="connected"} 1)"));
  CHECK(fixture.Counted(R"(podmirror_peer_events_total{type="lost"} 2)"));
  CHECK(fixture.Counted(R"(podmirror_peer_events_total{type="refused"} 1)"));
  CHECK(fixture.Counted(R"(podmirror_repairs_total{reason="periodic"} 1)"));
  CHECK(fixture.Counted("podmirror_repaired_entries_total 7"));
}

}  // namespace
}  // namespace podmirror::app
