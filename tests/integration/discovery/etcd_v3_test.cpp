#include <arpa/inet.h>
#include <sys/socket.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "discovery/etcd_v3_client.h"
#include "fixture_path.h"
#include "recorder.h"
#include "test_etcd.h"

namespace podmirror::discovery {
namespace {

using nlohmann::json;
using std::chrono::milliseconds;

std::string Fixture(const std::string& name) {
  std::ifstream stream(FixturePath(name), std::ios::binary);
  REQUIRE(stream);
  return std::string(std::istreambuf_iterator<char>(stream), {});
}

Result<std::unique_ptr<PeerSource>> Source(const EtcdOptions& options,
                                           telemetry::Metrics& metrics) {
  return NewEtcdV3Source(options, FilterFor("default", "relay"), metrics, Env::Real());
}

TEST_CASE("v3: the stored records of Kubernetes make the peer set that the rules say") {
  TestEtcd etcd;
  telemetry::Metrics metrics;
  const json index = json::parse(Fixture("kube-apiserver-1.20.2/etcd/index.json"));
  for (const json& kv : index.at("kvs")) {
    etcd.Put(kv.at("key"),
             Fixture("kube-apiserver-1.20.2/etcd/" + kv.at("file").get<std::string>()));
  }

  PodFilter filter = FilterFor("peers", "");
  filter.selector = "app=relay,track=stable";
  filter.self.uid = "1f4cb49c-1319-4c9c-8f0b-21b4e65f4181";  // c-running-ready
  Running peers(NewEtcdV3Source(etcd.options(), filter, metrics, Env::Real()));
  REQUIRE(
      peers.WaitForNames({"d-running-notready", "f-two-containers-one-terminated", "k-dualstack",
                          "l-ipv6-only", "m-hostnetwork", "o-readiness-gate-false"}));
  const Seen seen = peers.seen();
  CHECK(seen.unreadable.empty());
  CHECK(seen.errors.empty());
  CHECK(seen.set->where == "/registry/pods/peers");
  CHECK(seen.set->self_listed);
  CHECK(seen.set->self_started_at_ms == 1709287205000);
  CHECK(seen.revision > 1);
  CHECK(seen.set->peers.back().name == "f-two-containers-one-terminated");  // started last
  CHECK(seen.set->peers.back().ip == "10.1.0.6");

  filter = FilterFor("peers-two", "");
  filter.selector = "!none";
  Running two(NewEtcdV3Source(etcd.options(), filter, metrics, Env::Real()));
  REQUIRE(two.WaitForNames({"nolabel-0", "nolabel-1", "stored-json"}));
  CHECK_FALSE(two.seen().set->self_listed);
  const auto unreadable = two.seen().unreadable;
  CHECK(unreadable.size() == 3);
  for (const char* provider : {"aescbc", "aesgcm", "secretbox"}) {
    const auto found = unreadable.find(std::string("/registry/pods/peers-two/stored-") + provider);
    REQUIRE(found != unreadable.end());
    CHECK(found->second.find(std::string("k8s:enc:") + provider + ":v1") != std::string::npos);
  }

  Running empty(NewEtcdV3Source(etcd.options(), FilterFor("none", "relay"), metrics, Env::Real()));
  REQUIRE(empty.WaitForNames({}));
  CHECK_FALSE(empty.seen().set->self_listed);
}

TEST_CASE("v3: pods added, changed and deleted are seen within a second") {
  TestEtcd etcd;
  telemetry::Metrics metrics;
  Running source(Source(etcd.options(), metrics));
  REQUIRE(source.WaitForNames({}));
  etcd.Put(Key(1), PodJson(1));
  REQUIRE(source.WaitForNames({"relay-1"}, milliseconds(1000)));
  const std::int64_t revision = etcd.Put(Key(2), PodJson(2));
  REQUIRE(source.WaitForNames({"relay-1", "relay-2"}, milliseconds(1000)));
  CHECK(source.seen().revision == revision);

  std::string moved = PodJson(1);
  moved.replace(moved.find("10.0.0.1"), 8, "10.9.9.9");
  etcd.Put(Key(1), moved);
  REQUIRE(source.WaitFor([](const Seen& seen) { return seen.set->peers[0].ip == "10.9.9.9"; },
                         milliseconds(1000)));
  etcd.Put(Key(1), "garbage");  // keeps what was known
  REQUIRE(source.WaitFor([](const Seen& seen) { return seen.unreadable.size() == 1; }));
  CHECK(source.seen().unreadable.begin()->first == Key(1));
  CHECK(source.seen().names() == Names{"relay-1", "relay-2"});
  etcd.Delete(Key(1));
  REQUIRE(source.WaitForNames({"relay-2"}, milliseconds(1000)));
  // Other namespaces whose names begin like ours, before and after it in the order of keys.
  etcd.Put("/registry/pods/default-two/relay-3", PodJson(3));
  etcd.Put("/registry/pods/default2/relay-5", PodJson(5));
  etcd.Put(Key(4), PodJson(4));
  REQUIRE(source.WaitForNames({"relay-2", "relay-4"}, milliseconds(1000)));
  CHECK(source.seen().errors.empty());
  CHECK(source.TimeStop() < milliseconds(1000));
}

TEST_CASE("v3: an etcd that is not there is told, and found when it comes") {
  TestEtcd etcd(FreePort());
  telemetry::Metrics metrics;
  Running source(Source(etcd.options(), metrics));
  REQUIRE(source.WaitFor([](const Seen& seen) { return !seen.errors.empty(); }));
  CHECK(source.seen().errors[0] == "etcd " + etcd.url() + ": connection refused");
  // Several attempts later it has still been said once.
  REQUIRE_FALSE(
      source.WaitFor([](const Seen& seen) { return seen.errors.size() > 1; }, milliseconds(1500)));
  CHECK_FALSE(source.seen().set.has_value());
  etcd.Start();
  etcd.Put(Key(1), PodJson(1));
  REQUIRE(source.WaitForNames({"relay-1"}));
}

TEST_CASE("v3: killed and started again, with changes and a compaction meanwhile") {
  TestEtcd etcd;
  telemetry::Metrics metrics;
  etcd.Put(Key(1), PodJson(1));
  etcd.Put(Key(2), PodJson(2));
  Running source(Source(etcd.options(), metrics));
  REQUIRE(source.WaitForNames({"relay-1", "relay-2"}));
  etcd.Kill();
  REQUIRE(source.WaitFor([](const Seen& seen) { return !seen.errors.empty(); }));
  CHECK(source.seen().names() == Names{"relay-1", "relay-2"});
  etcd.Start();
  etcd.Delete(Key(1));
  const std::int64_t revision = etcd.Put(Key(3), PodJson(3));
  etcd.Compact(revision);
  REQUIRE(source.WaitForNames({"relay-2", "relay-3"}));
  etcd.Put(Key(4), PodJson(4));
  REQUIRE(source.WaitForNames({"relay-2", "relay-3", "relay-4"}, milliseconds(1000)));
}

TEST_CASE("v3: a store that was replaced by an empty one is read from the start") {
  TestEtcd old_etcd;
  telemetry::Metrics metrics;
  for (int i = 1; i <= 20; ++i) old_etcd.Put(Key(i), PodJson(i));
  Running source(Source(old_etcd.options(), metrics));
  REQUIRE(source.WaitFor([](const Seen& seen) { return seen.names().size() == 20; }));
  old_etcd.Kill();
  TestEtcd new_etcd(old_etcd.port());
  new_etcd.Start();
  new_etcd.Put(Key(1), PodJson(1));
  REQUIRE(source.WaitForNames({"relay-1"}));
  CHECK(source.seen().revision == 2);
}

TEST_CASE("v3: more records than a page holds, all at one revision") {
  TestEtcd etcd;
  telemetry::Metrics metrics;
  for (int i = 1; i <= 1200; ++i) etcd.Put(Key(i), PodJson(i));
  Running source(Source(etcd.options(), metrics));
  REQUIRE(source.WaitFor([](const Seen& seen) { return seen.names().size() == 1200; }));
  CHECK(source.seen().answers == 1);
  CHECK(source.seen().revision == 1201);
}

TEST_CASE("v3: refresh reads again at once, but not oftener than once a second") {
  TestEtcd etcd;
  telemetry::Metrics metrics;
  const Stopwatch stopwatch;
  Running source(Source(etcd.options(), metrics));
  REQUIRE(source.RefreshUntilAnswers(4));
  CHECK(stopwatch.ms() >= 2990);
  CHECK(stopwatch.ms() < 6000);
  etcd.Put(Key(1), PodJson(1));
  REQUIRE(source.WaitForNames({"relay-1"}, milliseconds(1000)));
  CHECK(source.seen().errors.empty());
}

TEST_CASE("v3: a member that is gone is passed over, also when it goes later") {
  TestEtcd etcd;
  telemetry::Metrics metrics;
  etcd.Put(Key(1), PodJson(1));
  EtcdOptions options = etcd.options();
  for (int i = 0; i < 3; ++i) {
    options.endpoints.insert(options.endpoints.begin(),
                             "http://127.0.0.1:" + std::to_string(FreePort()));
  }
  Running source(Source(options, metrics));
  REQUIRE(source.WaitForNames({"relay-1"}));
  CHECK(source.seen().errors.empty());
  etcd.Kill();
  REQUIRE(source.WaitFor([](const Seen& seen) { return !seen.errors.empty(); }));
  for (const std::string& endpoint : options.endpoints) {
    CHECK(source.seen().errors[0].find(endpoint) != std::string::npos);
  }
  etcd.Start();
  etcd.Put(Key(2), PodJson(2));
  REQUIRE(source.WaitForNames({"relay-1", "relay-2"}));
}

TEST_CASE("v3: stop returns within a second whatever the source waits for") {
  telemetry::Metrics metrics;
  SECTION("a server that takes the connection and says nothing") {
    const int fd = socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    REQUIRE(bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0);
    REQUIRE(listen(fd, 5) == 0);
    socklen_t size = sizeof(address);
    REQUIRE(getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size) == 0);
    EtcdOptions options;
    options.endpoints = {"http://127.0.0.1:" + std::to_string(ntohs(address.sin_port))};
    Running source(Source(options, metrics));
    REQUIRE_FALSE(
        source.WaitFor([](const Seen& seen) { return !seen.errors.empty(); }, milliseconds(300)));
    CHECK(source.TimeStop() < milliseconds(1000));
    close(fd);
  }
  SECTION("back-off") {
    EtcdOptions options;
    options.endpoints = {"http://127.0.0.1:" + std::to_string(FreePort())};
    Running source(Source(options, metrics));
    REQUIRE(source.WaitFor([](const Seen& seen) { return !seen.errors.empty(); }));
    CHECK(source.TimeStop() < milliseconds(1000));
  }
  SECTION("an etcd that has stopped working") {
    TestEtcd etcd;
    Running source(Source(etcd.options(), metrics));
    REQUIRE(source.WaitForNames({}));
    etcd.Pause();
    source->Refresh();
    REQUIRE_FALSE(
        source.WaitFor([](const Seen& seen) { return seen.answers > 1; }, milliseconds(1200)));
    CHECK(source.TimeStop() < milliseconds(1000));
    etcd.Resume();
  }
}

TEST_CASE("v3: etcd's users: a token is got, renewed, and a refusal told") {
  TestEtcd etcd;
  telemetry::Metrics metrics;
  etcd.Put(Key(1), PodJson(1));
  etcd.Gateway("/auth/user/add", R"({"name":"root","password":"secret"})");
  etcd.Gateway("/auth/user/grant", R"({"user":"root","role":"root"})");
  const std::string file = std::filesystem::temp_directory_path() /
                           ("podmirror-password-" + std::to_string(etcd.port()));
  std::ofstream(file) << "secret\n";
  EtcdOptions options = etcd.options();
  options.user = "root";
  options.password_file = file;
  {
    Running before(Source(options, metrics));  // no users are needed yet
    REQUIRE(before.WaitForNames({"relay-1"}));
  }
  etcd.Gateway("/auth/enable", "{}");

  Running without(Source(etcd.options(), metrics));
  REQUIRE(without.WaitFor([](const Seen& seen) { return !seen.errors.empty(); }));
  CHECK(without.seen().errors[0] ==
        "etcd " + etcd.url() + ": user name is empty: etcd wants a user (etcd-user)");
  CHECK_FALSE(without.seen().set.has_value());

  Running source(Source(options, metrics));
  REQUIRE(source.WaitForNames({"relay-1"}));
  etcd.Kill();  // and with it all tokens
  etcd.Start();
  const int answers = source.seen().answers;
  source->Refresh();
  REQUIRE(source.WaitFor([&](const Seen& seen) { return seen.answers > answers; }));

  std::ofstream(file) << "wrong\n";
  Running wrong(Source(options, metrics));
  REQUIRE(wrong.WaitFor([](const Seen& seen) { return !seen.errors.empty(); }));
  CHECK(wrong.seen().errors[0].find("authentication failed") != std::string::npos);
  std::filesystem::remove(file);
}

TEST_CASE("v3 client: a watch of history that was compacted has to be begun again") {
  TestEtcd etcd;
  const std::string prefix = "/registry/pods/default/";
  const Result<CheckedEtcdOptions> options =
      CheckEtcdOptions(etcd.options(), "default", Env::Real());
  REQUIRE(options.ok());
  const std::unique_ptr<EtcdV3Client> client = NewEtcdV3Client(
      *options, [] { return false; }, Env::Real());
  etcd.Put(Key(1), PodJson(1));
  const Result<std::int64_t> revision =
      client->List(prefix, [](const EtcdKeyValue&) { return Status(); });
  REQUIRE(revision.ok());
  etcd.Put(Key(2), PodJson(2));
  etcd.Compact(etcd.Put(Key(3), PodJson(3)));
  Status status = client->OpenWatch(prefix, *revision + 1);
  if (status.ok()) status = client->NextWatchAnswer(Env::Real().now().steady + 5000).status();
  CHECK(status.code() == Code::kNotFound);
}

TEST_CASE("v3 client: a list whose revision is compacted between pages has to be begun again") {
  TestEtcd etcd;
  const std::string prefix = "/registry/pods/default/";
  const Result<CheckedEtcdOptions> options =
      CheckEtcdOptions(etcd.options(), "default", Env::Real());
  REQUIRE(options.ok());
  const std::unique_ptr<EtcdV3Client> client = NewEtcdV3Client(
      *options, [] { return false; }, Env::Real());
  for (int i = 1; i <= 600; ++i) etcd.Put(Key(i), "x");
  int keys = 0;
  const auto count = [&](const EtcdKeyValue& kv) {
    CHECK(kv.value == "x");
    ++keys;
    return Status();
  };
  Result<std::int64_t> revision = client->List(prefix, [&](const EtcdKeyValue& kv) {
    if (keys == 0) etcd.Compact(etcd.Put(Key(600), "y"));  // while the first page is read
    return count(kv);
  });
  CHECK(revision.status().code() == Code::kNotFound);
  CHECK(keys == 500);
  keys = 0;
  // And without a compaction, all pages are of one instant: the change in between is not seen.
  etcd.Put(Key(600), "x");
  revision = client->List(prefix, [&](const EtcdKeyValue& kv) {
    if (keys == 0) etcd.Put(Key(99), "y");  // on the second page
    return count(kv);
  });
  REQUIRE(revision.ok());
  CHECK(keys == 600);
}

}  // namespace
}  // namespace podmirror::discovery
