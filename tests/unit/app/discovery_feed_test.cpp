#include "app/discovery_feed.h"

#include <catch2/catch.hpp>
#include <string>
#include <utility>

#include "cache/cache.h"
#include "log_testing.h"

namespace podmirror::app {
namespace {

class ManualEnv : public Env {
 public:
  Now now() const override { return {at, at}; }
  std::uint64_t Random() override { return ++random_; }
  std::int64_t at = 1'000'000;

 private:
  std::uint64_t random_ = 0;
};

// Nobody can be reached.
class NoTransport : public sync::Transport {
 public:
  void Dial(sync::ConnId, const PodRecord&, bool) override {}
  void Wake(sync::ConnId) override {}
  void Close(sync::ConnId) override {}
};

// A source that says what the test tells it to say.
struct Script {
  discovery::SourceEvents events;
  int refreshes = 0;
  bool ready = false;
  bool stopped = false;
};

class ScriptedSource : public discovery::PeerSource {
 public:
  explicit ScriptedSource(Script& script) : script_(script) {}
  void Start(discovery::SourceEvents events) override { script_.events = std::move(events); }
  void Stop() override { script_.stopped = true; }
  void Refresh() override { ++script_.refreshes; }
  void SetReady(bool ready) override { script_.ready = ready; }

 private:
  Script& script_;
};

struct Fixture {
  ManualEnv env;
  TempFile file;
  Log log{file.fd(), LogLevel::kInfo, LogFormat::kJson, env};
  Cache cache;
  NoTransport transport;
  sync::Driver driver{Options(), cache, env, transport, nullptr};
  Script source;
  DiscoveryFeed feed{std::make_unique<ScriptedSource>(source), driver, log, env};

  static sync::NodeOptions Options() {
    sync::NodeOptions options;
    options.self = {"web-1", "default", "u-1", "127.0.0.1"};
    return options;
  }
  int Logged(const std::string& event) {
    int count = 0;
    const std::string text = LoggedSoFar(log, file);
    const std::string wanted = "\"event\":\"" + event + "\"";
    for (auto at = text.find(wanted); at != text.npos; at = text.find(wanted, at + 1)) ++count;
    return count;
  }
};

PeerSet SetOf(bool self_listed, std::vector<PodRecord> peers) {
  PeerSet set;
  set.peers = std::move(peers);
  set.self_listed = self_listed;
  set.where = "/registry/pods/default";
  return set;
}

PodRecord Web2() {
  PodRecord record;
  record.uid = "u-2";
  record.name = "web-2";
  record.ip = "127.0.0.2";
  record.port = 7070;
  return record;
}

TEST_CASE("a good answer reaches the driver and is seen as healthy, with its age") {
  Fixture f;
  CHECK_FALSE(f.feed.state().healthy);
  CHECK(f.feed.state().error == "no answer yet");
  f.feed.Start();
  f.source.events.peers(SetOf(true, {Web2()}), 42);
  REQUIRE(f.driver.Peers().size() == 1);
  CHECK(f.driver.Peers()[0].record.name == "web-2");
  f.env.at += 1500;
  const DiscoveryFeed::State state = f.feed.state();
  CHECK(state.healthy);
  CHECK(state.peers == 1);
  CHECK(state.revision == 42);
  CHECK(state.age_ms == 1500);
  CHECK(state.error.empty());
}

TEST_CASE("trouble keeps the peers, is logged and shown; a good answer ends it") {
  Fixture f;
  f.feed.Start();
  f.source.events.peers(SetOf(true, {Web2()}), 42);
  f.env.at += 1000;
  f.source.events.failed("connection refused");
  const DiscoveryFeed::State troubled = f.feed.state();
  CHECK_FALSE(troubled.healthy);
  CHECK(troubled.error == "connection refused");
  CHECK(troubled.peers == 1);
  CHECK(troubled.age_ms == 1000);
  CHECK(f.driver.Peers().size() == 1);
  CHECK(f.Logged("discovery_error") == 1);

  f.source.events.peers(SetOf(true, {}), 43);
  CHECK(f.feed.state().healthy);
  CHECK(f.feed.state().age_ms == 0);
  CHECK(f.driver.Peers().empty());
  f.source.events.peers(SetOf(true, {}), 44);
  CHECK(f.Logged("discovery_ok") == 2);  // when it begins and when it recovers, not each time
}

TEST_CASE("an answer that does not list this pod is told once, and changes no peers") {
  Fixture f;
  f.feed.Start();
  f.source.events.peers(SetOf(true, {Web2()}), 42);
  CHECK(f.feed.state().self_listed);
  f.env.at += 1000;
  f.source.events.peers(SetOf(false, {}), 43);
  f.source.events.peers(SetOf(false, {}), 44);
  const DiscoveryFeed::State lost = f.feed.state();
  CHECK_FALSE(lost.self_listed);
  CHECK_FALSE(lost.healthy);
  CHECK(lost.error == "own pod not found under /registry/pods/default");
  CHECK(lost.peers == 1);
  CHECK(lost.revision == 42);
  CHECK(lost.age_ms == 1000);
  CHECK(f.driver.Peers().size() == 1);
  CHECK(f.Logged("self_unlisted") == 1);
  CHECK(f.Logged("discovery_error") == 0);

  // Trouble of another kind and back: that is a change.
  f.source.events.failed("connection refused");
  f.source.events.peers(SetOf(false, {}), 45);
  CHECK(f.Logged("self_unlisted") == 2);

  f.source.events.peers(SetOf(true, {Web2()}), 46);
  CHECK(f.feed.state().healthy);
  CHECK(f.feed.state().self_listed);
  CHECK(f.feed.state().error.empty());
  CHECK(f.Logged("discovery_ok") == 2);
}

TEST_CASE("why there was no good answer yet is the reason for not being ready") {
  Fixture f;
  f.feed.Start();
  f.source.events.failed("permission denied");
  f.driver.Tick();
  CHECK_FALSE(f.driver.ready());
  CHECK(f.driver.Status().reason.find("permission denied") != std::string::npos);
}

TEST_CASE("an unreadable record is logged by its key") {
  Fixture f;
  f.feed.Start();
  f.source.events.unreadable("/registry/pods/default/x", "encrypted");
  CHECK(f.Logged("record_unreadable") == 1);
  CHECK(f.file.Read().find("/registry/pods/default/x") != std::string::npos);
}

TEST_CASE("refresh, readiness and stop reach the source") {
  Fixture f;
  f.feed.Start();
  f.feed.Refresh();
  f.feed.SetReady(true);
  CHECK(f.source.ready);
  f.feed.Stop();
  CHECK(f.source.refreshes == 1);
  CHECK(f.source.stopped);
}

TEST_CASE("a source that cannot read its options names the setting") {
  telemetry::Metrics metrics;
  net::GrpcQueue queue;
  settings::Settings settings;
  settings.discovery = "etcd";
  settings.etcd_endpoints = {"http://127.0.0.1:1"};
  settings.etcd_prefix = "/registry";
  settings.ns = "default";
  settings.selector = "a in (";
  settings.peer_port = 7070;
  const auto source = NewSource(settings, queue, metrics, Env::Real());
  REQUIRE_FALSE(source.ok());
  CHECK(source.status().code() == Code::kInvalid);
  CHECK(source.status().message().starts_with("selector"));
  settings.discovery = "none";
  CHECK(NewSource(settings, queue, metrics, Env::Real()).ok());
}

}  // namespace
}  // namespace podmirror::app
