#include <catch2/catch.hpp>
#include <string>
#include <vector>

#include "recorder.h"

namespace podmirror::discovery {
namespace {

using std::chrono::milliseconds;

TEST_CASE("static: addresses and names that resolve, again and again") {
  telemetry::Metrics metrics;
  Identity self;
  self.ip = "10.0.0.1";
  Running source(NewStaticSource({"10.0.0.1:7070", "10.0.0.2:7070", "localhost:7070"}, self, 7070,
                                 milliseconds(50), metrics, Env::Real()));
  REQUIRE(source.WaitFor([](const Seen& seen) { return seen.answers >= 3; }));
  const Seen seen = source.seen();
  CHECK(seen.errors.empty());
  CHECK(seen.set->self_listed);
  CHECK(seen.names().contains("10.0.0.2:7070"));
  CHECK_FALSE(seen.names().contains("10.0.0.1:7070"));
  CHECK((seen.names().contains("localhost/127.0.0.1:7070") ||
         seen.names().contains("localhost/[::1]:7070")));
  CHECK(source.TimeStop() < milliseconds(1000));
}

// An empty label: such a name is refused without asking anybody.
constexpr const char* kNoName = "no..name";

TEST_CASE("static: a name that does not resolve is told, the others are used") {
  telemetry::Metrics metrics;
  Running source(NewStaticSource({"10.0.0.2:7070", std::string(kNoName) + ":1"}, {}, 7070,
                                 milliseconds(50), metrics, Env::Real()));
  REQUIRE(source.WaitForNames({"10.0.0.2:7070"}));
  REQUIRE(source.WaitFor([](const Seen& seen) { return !seen.errors.empty(); }));
  CHECK(source.seen().errors[0].starts_with("no..name: "));
  REQUIRE_FALSE(
      source.WaitFor([](const Seen& seen) { return seen.errors.size() > 1; }, milliseconds(300)));
  CHECK(source.seen().answers == 1);
}

TEST_CASE("static: while no name is known there is no set, as if we were alone") {
  telemetry::Metrics metrics;
  Running source(NewStaticSource({std::string(kNoName) + ":1"}, {}, 7070, milliseconds(50), metrics,
                                 Env::Real()));
  REQUIRE(source.WaitFor([](const Seen& seen) { return !seen.errors.empty(); }));
  CHECK_FALSE(source.seen().set.has_value());
}

TEST_CASE("static: refresh resolves again before the interval is over") {
  telemetry::Metrics metrics;
  Running source(NewStaticSource({"localhost:7070"}, {}, 7070, std::chrono::minutes(10), metrics,
                                 Env::Real()));
  REQUIRE(source.WaitFor([](const Seen& seen) { return seen.answers == 1; }));
  source->Refresh();
  REQUIRE(source.WaitFor([](const Seen& seen) { return seen.answers == 2; }, milliseconds(2000)));
}

TEST_CASE("none: nobody but us") {
  Running source{Result<std::unique_ptr<PeerSource>>(NewNoneSource(Env::Real()))};
  REQUIRE(source.WaitForNames({}));
  CHECK(source.seen().set->self_listed);
  CHECK(source.TimeStop() < milliseconds(1000));
}

TEST_CASE("a source that was never started can be stopped and destroyed") {
  telemetry::Metrics metrics;
  NewNoneSource(Env::Real())->Stop();
  EtcdOptions options;
  options.endpoints = {"http://127.0.0.1:1"};
  auto v3 = NewEtcdV3Source(options, FilterFor("default", "relay"), metrics, Env::Real());
  auto v2 = NewEtcdV2Source(options, FilterFor("default", "relay"), metrics, Env::Real());
  REQUIRE(v3.ok());
  REQUIRE(v2.ok());
}

}  // namespace
}  // namespace podmirror::discovery
