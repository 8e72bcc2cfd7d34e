#include <array>
#include <catch2/catch.hpp>
#include <iostream>
#include <nlohmann/json.hpp>

#include "certs/test_certs.h"
#include "discovery/etcd_v3_client.h"
#include "integration/eventually.h"
#include "recorder.h"
#include "test_etcd.h"
#include "test_relay.h"

namespace podmirror::discovery {
namespace {

using testing::TestAuthority;
using testing::TestDir;

using std::chrono::seconds;

constexpr char kPrefix[] = "/registry/pods/default/";

Names UpTo(int number) {
  Names names;
  for (int i = 1; i <= number; ++i) names.insert("relay-" + std::to_string(i));
  return names;
}

// What every fault has to come to, within the ten seconds that are promised.
void RequireHealed(const Running& source, const Names& names, const std::string& what,
                   const Stopwatch& since) {
  INFO(what);
  REQUIRE(source.WaitForNames(names, seconds(10)));
  std::cout << what << ": healed after " << since.ms() << " ms\n";
}

// Three members that elect a leader.
class Cluster {
 public:
  Cluster() {
    std::array<int, 3> ports;
    std::string all;
    for (std::size_t i = 0; i < ports.size(); ++i) {
      ports[i] = FreePort();
      all += (i == 0 ? "m" : ",m") + std::to_string(i) +
             "=http://127.0.0.1:" + std::to_string(ports[i]);
    }
    for (std::size_t i = 0; i < ports.size(); ++i) {
      EtcdConfig config;
      config.name = "m" + std::to_string(i);
      config.peer_port = ports[i];
      config.initial_cluster = all;
      members_[i] = std::make_unique<TestEtcd>(std::move(config));
      members_[i]->Launch();
    }
    for (const auto& member : members_) member->AwaitHealth();
  }

  TestEtcd& operator[](std::size_t i) { return *members_[i]; }
  std::size_t leader() {
    for (std::size_t i = 0; i < members_.size(); ++i) {
      const auto status = nlohmann::json::parse(members_[i]->Gateway("/maintenance/status", "{}"));
      if (status["leader"] == status["header"]["member_id"]) return i;
    }
    FAIL("no leader");
    return 0;
  }
  EtcdOptions options() const {
    EtcdOptions options;
    for (const auto& member : members_) options.endpoints.push_back(member->url());
    return options;
  }

 private:
  std::array<std::unique_ptr<TestEtcd>, 3> members_;
};

TEST_CASE("a cluster whose leader is killed, then is without quorum, then whole again") {
  Cluster cluster;
  telemetry::Metrics metrics;
  std::vector<std::unique_ptr<Running>> sources;
  // So many that some are connected to the leader and some are not.
  for (int i = 0; i < 4; ++i) {
    for (const Api& api : kApis) {
      sources.push_back(std::make_unique<Running>(
          api.source(cluster.options(), FilterFor("default", "relay"), metrics, Env::Real())));
    }
  }
  for (const Api& api : kApis) api.put(cluster[0], 1);
  for (const auto& source : sources) REQUIRE(source->WaitForNames(UpTo(1)));

  const std::size_t killed = cluster.leader();
  const std::size_t second = (killed + 1) % 3;
  const std::size_t third = (killed + 2) % 3;
  cluster[killed].Kill();
  Stopwatch since;
  cluster[second].AwaitHealth();
  for (const Api& api : kApis) api.put(cluster[second], 2);
  for (const auto& source : sources) RequireHealed(*source, UpTo(2), "leader killed", since);

  cluster[second].Kill();
  // A poll of v2 is quiet for longer.
  REQUIRE(sources[0]->WaitFor([](const Seen& seen) { return !seen.errors.empty(); }));
  for (const auto& source : sources) CHECK(source->seen().names() == UpTo(2));
  cluster[second].Launch();
  since = Stopwatch();
  cluster[third].AwaitHealth();
  for (const Api& api : kApis) api.put(cluster[third], 3);
  for (const auto& source : sources) RequireHealed(*source, UpTo(3), "quorum lost", since);
}

TEST_CASE("a compaction while the watch is down") {
  TestEtcd etcd;
  TestRelay relay(etcd.port());
  telemetry::Metrics metrics;
  EtcdOptions options;
  options.endpoints = {relay.url()};
  for (int i = 1; i <= 3; ++i) etcd.Put(Key(i), PodJson(i));
  Running source(NewEtcdV3Source(options, FilterFor("default", "relay"), metrics, Env::Real()));
  REQUIRE(source.WaitForNames(UpTo(3)));
  relay.SetCut(true);
  REQUIRE(source.WaitFor([](const Seen& seen) { return !seen.errors.empty(); }));
  etcd.Delete(Key(3));
  etcd.Put(Key(4), PodJson(4));
  etcd.Compact(etcd.Delete(Key(4)));
  CHECK(source.seen().names() == UpTo(3));
  relay.SetCut(false);
  RequireHealed(source, UpTo(2), "compacted meanwhile", Stopwatch());
}

TEST_CASE("an older backup in the place of the data, then another cluster") {
  for (const Api& api : kApis) {
    INFO(api.name);
    const TestDir dir;
    TestEtcd etcd;
    telemetry::Metrics metrics;
    for (int i = 1; i <= 2; ++i) api.put(etcd, i);
    etcd.Kill();
    etcd.SaveData(dir / "backup");
    etcd.Start();
    for (int i = 3; i <= 20; ++i) api.put(etcd, i);
    Running source(api.source(etcd.options(), FilterFor("default", "relay"), metrics, Env::Real()));
    REQUIRE(source.WaitForNames(UpTo(20)));
    const std::int64_t revision = source.seen().revision;

    etcd.Kill();
    REQUIRE(source.WaitFor([](const Seen& seen) { return !seen.errors.empty(); }));
    CHECK(source.seen().names() == UpTo(20));
    etcd.RestoreData(dir / "backup");
    etcd.Start();
    RequireHealed(source, UpTo(2), std::string(api.name) + " older backup", Stopwatch());
    CHECK(source.seen().revision < revision);
    api.put(etcd, 3);
    REQUIRE(source.WaitForNames(UpTo(3), seconds(1)));

    etcd.Kill();
    etcd.EraseData("another");
    etcd.Start();
    api.put(etcd, 7);
    RequireHealed(source, {"relay-7"}, std::string(api.name) + " another cluster", Stopwatch());
    api.put(etcd, 8);
    REQUIRE(source.WaitForNames({"relay-7", "relay-8"}, seconds(1)));
  }
}

Result<std::optional<EtcdWatchAnswer>> Next(EtcdV3Client& client) {
  return client.NextWatchAnswer(Env::Real().now().steady + 5000);
}

std::unique_ptr<EtcdV3Client> ClientFor(const TestEtcd& etcd) {
  const Result<CheckedEtcdOptions> options =
      CheckEtcdOptions(etcd.options(), "default", Env::Real());
  REQUIRE(options.ok());
  return NewEtcdV3Client(
      *options, [] { return false; }, Env::Real());
}

TEST_CASE("v3 client: a watch of a store that went back, or of another one, fails at once") {
  const TestDir dir;
  TestEtcd etcd;
  etcd.Put(Key(1), PodJson(1));
  etcd.Kill();
  etcd.SaveData(dir / "backup");
  etcd.Start();
  etcd.Put(Key(2), PodJson(2));
  const std::unique_ptr<EtcdV3Client> client = ClientFor(etcd);
  const Result<std::int64_t> revision =
      client->List(kPrefix, [](const EtcdKeyValue&) { return Status(); });
  REQUIRE(revision.ok());
  const bool other = GENERATE(false, true);
  etcd.Kill();
  if (other) {
    etcd.EraseData("another");
  } else {
    etcd.RestoreData(dir / "backup");
  }
  etcd.Start();
  if (other) {
    for (int i = 1; i <= 5; ++i) etcd.Put(Key(i), PodJson(i));
  }
  // The first attempts may still find the connection to the old run.
  Status status;
  CHECK(Eventually([&] {
    status = client->OpenWatch(kPrefix, *revision + 1);
    return status.code() == Code::kInternal;
  }));
  CHECK(status.message() == (other ? "another cluster answers" : "the revision went back"));
}

TEST_CASE("v3 client: a large answer comes in fragments, and none is lost") {
  TestEtcd etcd;
  const std::unique_ptr<EtcdV3Client> client = ClientFor(etcd);
  const Result<std::int64_t> revision =
      client->List(kPrefix, [](const EtcdKeyValue&) { return Status(); });
  REQUIRE(revision.ok());
  constexpr int kKeys = 100;
  const std::string value(100'000, 'x');
  for (int i = 1; i <= kKeys; ++i) etcd.Put(Key(i), value);
  REQUIRE(client->OpenWatch(kPrefix, *revision + 1).ok());
  int partial = 0;
  std::vector<std::string> keys;
  while (keys.size() < kKeys) {
    const Result<std::optional<EtcdWatchAnswer>> answer = Next(*client);
    REQUIRE(answer.ok());
    REQUIRE(answer->has_value());
    partial += (*answer)->partial ? 1 : 0;
    for (const EtcdKeyValue& change : (*answer)->changes) keys.push_back(change.key);
  }
  CHECK(partial > 0);
  for (int i = 1; i <= kKeys; ++i) CHECK(keys[static_cast<std::size_t>(i) - 1] == Key(i));
}

TEST_CASE("v3: progress notifications show that what is known is still true") {
  EtcdConfig config;
  config.flags = {"--experimental-watch-progress-notify-interval=200ms"};
  TestEtcd etcd(config);
  etcd.Start();
  telemetry::Metrics metrics;
  Running source(
      NewEtcdV3Source(etcd.options(), FilterFor("default", "relay"), metrics, Env::Real()));
  REQUIRE(source.WaitForNames({}));
  const std::int64_t revision = etcd.Put("/registry/elsewhere", "x");
  REQUIRE(source.WaitFor([&](const Seen& seen) { return seen.revision == revision; }));
  CHECK(metrics.Render().find("type=\"relist\"") == std::string::npos);
}

// A source, and the relays between it and its members.
struct Relayed {
  Relayed(const Api& api, TestEtcd& etcd, int members, telemetry::Metrics& metrics) {
    EtcdOptions options;
    for (int i = 0; i < members; ++i) {
      relays.push_back(std::make_unique<TestRelay>(etcd.port()));
      options.endpoints.push_back(relays.back()->url());
    }
    source = std::make_unique<Running>(
        api.source(options, FilterFor("default", "relay"), metrics, Env::Real()));
    REQUIRE(source->WaitForNames({}));
  }
  void HoldTheUsed() {
    for (const auto& relay : relays) relay->SetHeld(relay->accepted() > 0);
  }
  void LetGo() {
    for (const auto& relay : relays) relay->SetHeld(false);
  }

  std::vector<std::unique_ptr<TestRelay>> relays;
  std::unique_ptr<Running> source;
};

TEST_CASE("members that hang are left, or waited for; a quiet one is not disturbed by pings") {
  TestEtcd etcd;
  telemetry::Metrics metrics;
  Relayed quiet(kApis[0], etcd, 1, metrics);
  std::vector<std::unique_ptr<Relayed>> doubles;
  std::vector<std::unique_ptr<Relayed>> singles;
  for (const Api& api : kApis) {
    doubles.push_back(std::make_unique<Relayed>(api, etcd, 2, metrics));
    singles.push_back(std::make_unique<Relayed>(api, etcd, 1, metrics));
  }
  const Stopwatch since;
  for (const auto& relayed : doubles) relayed->HoldTheUsed();
  for (const auto& relayed : singles) relayed->HoldTheUsed();
  for (const Api& api : kApis) api.put(etcd, 1);
  for (const auto& relayed : doubles) {
    REQUIRE(relayed->source->WaitForNames(UpTo(1), seconds(25)));
    CHECK(relayed->source->seen().errors.empty());
    std::cout << "hung member left after " << since.ms() << " ms\n";
  }
  for (const auto& relayed : singles) {
    REQUIRE(relayed->source->WaitFor([](const Seen& seen) { return !seen.errors.empty(); },
                                     seconds(25)));
    CHECK(relayed->source->seen().names().empty());
    std::cout << "hung single member told after " << since.ms() << " ms\n";
  }
  const Stopwatch healed;
  for (const auto& relayed : singles) relayed->LetGo();
  for (const auto& relayed : singles) RequireHealed(*relayed->source, UpTo(1), "hung", healed);
  // etcd closes a connection whose client pings too often, which would show by now.
  CHECK(since.ms() > 15'000);
  CHECK(quiet.relays[0]->accepted() == 1);
  CHECK(quiet.source->seen().names() == UpTo(1));
}

}  // namespace
}  // namespace podmirror::discovery
