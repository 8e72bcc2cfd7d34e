#include <absl/strings/escaping.h>

#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "discovery/registry_record.h"
#include "recorder.h"
#include "test_etcd.h"

namespace podmirror::discovery {
namespace {

using nlohmann::json;
using std::chrono::milliseconds;
using std::chrono::seconds;

// Long enough for a machine that does much else; a lease ends within this and the TTL.
constexpr milliseconds kSlack{5000};
constexpr seconds kTtl{2};

RegistryOptions Options(const std::string& name) {
  RegistryOptions registry;
  registry.self = {.name = name, .ns = "", .uid = "u-" + name, .ip = "10.0.0." + name.substr(1)};
  registry.port = 7070;
  registry.service = "web";
  registry.ttl = kTtl;
  return registry;
}

std::string KeyOf(const std::string& name) {
  return "/podmirror/web/10.0.0." + name.substr(1) + ":7070";
}

// A daemon's source, registered as "n<number>" at 10.0.0.<number>:7070.
class Daemon {
 public:
  Daemon(const TestEtcd& etcd, const std::string& name)
      : source_(NewRegistrySource(etcd.options(), Options(name), metrics_, Env::Real())) {}

  Running* operator->() { return &source_; }
  PeerSource& source() { return *source_.operator->(); }

 private:
  telemetry::Metrics metrics_;
  Running source_;
};

struct Stored {
  std::string value;
  std::string lease;
};

std::optional<Stored> Read(TestEtcd& etcd, const std::string& key) {
  const json answer =
      json::parse(etcd.Gateway("/kv/range", R"({"key":")" + absl::Base64Escape(key) + R"("})"));
  if (!answer.contains("kvs")) return std::nullopt;
  const json& kv = answer["kvs"][0];
  std::string value;
  REQUIRE(absl::Base64Unescape(kv["value"].get<std::string>(), &value));
  return Stored{.value = value, .lease = kv.value("lease", "0")};
}

void Revoke(TestEtcd& etcd, const std::string& key) {
  const std::optional<Stored> stored = Read(etcd, key);
  REQUIRE(stored);
  etcd.Gateway("/kv/lease/revoke", R"({"ID":")" + stored->lease + R"("})");
}

bool WaitListed(Running& source, TestEtcd& etcd, const std::string& key) {
  return source.WaitFor([&](const Seen&) { return Read(etcd, key).has_value(); });
}

TEST_CASE("registry: daemons find each other, and say what they are") {
  TestEtcd etcd;
  Daemon one(etcd, "n1");
  REQUIRE(one->WaitForNames({}));
  Daemon two(etcd, "n2");
  REQUIRE(one->WaitForNames({"n2"}));
  REQUIRE(two->WaitForNames({"n1"}));
  const PodRecord peer = two->seen().set->peers[0];
  CHECK(peer.uid == "u-n1");
  CHECK(peer.ip == "10.0.0.1");
  CHECK(peer.port == 7070);
  CHECK(peer.started_at_ms > 0);
  CHECK_FALSE(peer.ready);
  CHECK(two->seen().set->self_listed);

  one.source().SetReady(true);
  CHECK(two->WaitFor([](const Seen& seen) { return seen.set->peers[0].ready; }));
  etcd.Put("/podmirror/web/by-hand", "10.0.0.9:7070");
  CHECK(two->WaitForNames({"n1", "10.0.0.9:7070"}));
  etcd.Put("/podmirror/web/garbage", "{");
  CHECK(two->WaitFor([](const Seen& seen) { return seen.unreadable.size() == 1; }));
  CHECK(two->seen().errors.empty());
}

TEST_CASE("registry: who stops is gone at once, its lease with it") {
  TestEtcd etcd;
  Daemon one(etcd, "n1");
  Daemon two(etcd, "n2");
  REQUIRE(one->WaitForNames({"n2"}));
  CHECK(two->TimeStop() < milliseconds(1000));
  CHECK_FALSE(Read(etcd, KeyOf("n2")).has_value());
  CHECK(one->WaitForNames({}, kTtl / 2));
  CHECK(json::parse(etcd.Gateway("/lease/leases", "{}"))["leases"].size() == 1);
}

TEST_CASE("registry: an entry that is lost is written again, whatever took it") {
  TestEtcd etcd;
  Daemon one(etcd, "n1");
  Daemon two(etcd, "n2");
  REQUIRE(one->WaitForNames({"n2"}));
  REQUIRE(two->WaitForNames({"n1"}));
  const std::string before = Read(etcd, KeyOf("n1"))->lease;
  SECTION("the key was deleted by hand") {
    etcd.Delete(KeyOf("n1"));
    REQUIRE(WaitListed(*one.operator->(), etcd, KeyOf("n1")));
    CHECK(Read(etcd, KeyOf("n1"))->lease == before);
  }
  SECTION("the lease was revoked by hand") {
    Revoke(etcd, KeyOf("n1"));
    REQUIRE(WaitListed(*one.operator->(), etcd, KeyOf("n1")));
    CHECK(Read(etcd, KeyOf("n1"))->lease != before);
  }
  SECTION("the key was overwritten by an earlier run") {
    RegistryRecord earlier;
    earlier.name = "n1";
    earlier.uid = "u-n1";
    earlier.address = {.host = "10.0.0.1", .port = 7070, .is_ip = true};
    etcd.Put(KeyOf("n1"), EncodeRegistryRecord(earlier));
    REQUIRE(one->WaitFor([&](const Seen&) { return Read(etcd, KeyOf("n1"))->lease == before; }));
  }
  CHECK(two->WaitForNames({"n1"}));
  CHECK(one->seen().names() == Names{"n2"});  // and nobody was dropped by who was lost
}

TEST_CASE("registry: etcd comes back without its data; nobody is dropped") {
  TestEtcd etcd;
  Daemon one(etcd, "n1");
  Daemon two(etcd, "n2");
  REQUIRE(one->WaitForNames({"n2"}));
  REQUIRE(two->WaitForNames({"n1"}));
  bool dropped = false;
  const auto both_again = [&](const Seen& seen) {
    if (seen.set->peers.empty()) dropped = true;
    return Read(etcd, KeyOf("n1")).has_value() && Read(etcd, KeyOf("n2")).has_value();
  };
  etcd.Kill();
  etcd.Wipe();
  etcd.Start();
  CHECK(one->WaitFor(both_again, kTtl + kSlack));
  CHECK(two->WaitFor(both_again, kTtl + kSlack));
  CHECK_FALSE(dropped);
  CHECK(one->seen().names() == Names{"n2"});
  CHECK(two->seen().names() == Names{"n1"});

  // Who does not come back is let go in the end.
  etcd.Kill();
  etcd.Wipe();
  static_cast<void>(two->TimeStop());
  etcd.Start();
  CHECK(one->WaitForNames({}, 3 * kTtl + kSlack));
}

TEST_CASE("registry: the data stays through a restart of etcd, and so do the peers") {
  TestEtcd etcd;
  Daemon one(etcd, "n1");
  Daemon two(etcd, "n2");
  REQUIRE(one->WaitForNames({"n2"}));
  const int answers = one->seen().answers;
  etcd.Kill();
  REQUIRE(one->WaitFor([](const Seen& seen) { return !seen.errors.empty(); }));
  etcd.Start();
  REQUIRE(one->WaitFor([&](const Seen& seen) { return seen.answers > answers; }));
  CHECK(WaitListed(*one.operator->(), etcd, KeyOf("n1")));
  // And then the leases are kept alive as before.
  CHECK_FALSE(one->WaitFor(
      [&](const Seen& seen) { return !Read(etcd, KeyOf("n1")) || seen.names() != Names{"n2"}; },
      3 * kTtl));
}

TEST_CASE("registry: a member of etcd that is not there is passed over") {
  TestEtcd etcd;
  telemetry::Metrics metrics;
  EtcdOptions options = etcd.options();
  options.endpoints.push_back("http://127.0.0.1:" + std::to_string(FreePort()));
  std::vector<std::unique_ptr<Running>> sources;
  Names names;
  for (int number = 1; number <= 4; ++number) {  // the members are tried in a random order
    const std::string name = "n" + std::to_string(number);
    sources.push_back(
        std::make_unique<Running>(NewRegistrySource(options, Options(name), metrics, Env::Real())));
    names.insert(name);
  }
  for (int number = 1; number <= 4; ++number) {
    Names others = names;
    others.erase("n" + std::to_string(number));
    CHECK(sources[number - 1]->WaitForNames(others));
    CHECK(sources[number - 1]->seen().errors == std::vector<std::string>());
  }
}

TEST_CASE("registry: the address of a living other is not taken") {
  TestEtcd etcd;
  Daemon first(etcd, "n1");
  REQUIRE(first->WaitForNames({}));
  const std::string held = Read(etcd, KeyOf("n1"))->value;
  telemetry::Metrics metrics;
  RegistryOptions same = Options("n1");
  same.self.name = "thief";
  same.self.uid = "u-thief";
  Running second(NewRegistrySource(etcd.options(), same, metrics, Env::Real()));
  REQUIRE(second.WaitFor([](const Seen& seen) { return !seen.errors.empty(); }));
  CHECK(second.seen().errors[0] ==
        "not registered as /podmirror/web/10.0.0.1:7070: held by n1 (uid u-n1), which claims the "
        "same address; it goes when its lease ends");
  CHECK_FALSE(second.seen().set.has_value());
  CHECK(Read(etcd, KeyOf("n1"))->value == held);

  // Once the other is gone the address is free.
  static_cast<void>(first->TimeStop());
  CHECK(second.WaitForNames({}));
  CHECK(Read(etcd, KeyOf("n1"))->value.find("u-thief") != std::string::npos);
}

TEST_CASE("registry: a new run of the same pod takes its entry over") {
  TestEtcd etcd;
  RegistryRecord former;
  former.name = "n1";
  former.uid = "u-n1";
  former.address = {.host = "10.0.0.1", .port = 7070, .is_ip = true};
  SECTION("from an earlier run") {
    former.started_at_ms = 1;
    etcd.Put(KeyOf("n1"), EncodeRegistryRecord(former));
    Daemon one(etcd, "n1");
    CHECK(one->WaitFor([&](const Seen&) { return Read(etcd, KeyOf("n1"))->lease != "0"; }));
    CHECK(one->seen().errors.empty());
  }
  SECTION("but not from a later one") {
    former.started_at_ms = Env::Real().now().wall + 3'600'000;
    etcd.Put(KeyOf("n1"), EncodeRegistryRecord(former));
    Daemon one(etcd, "n1");
    REQUIRE(one->WaitFor([](const Seen& seen) { return !seen.errors.empty(); }));
    CHECK(one->seen().errors[0].ends_with("held by a later run of this pod-uid"));
    CHECK(Read(etcd, KeyOf("n1"))->lease == "0");
  }
}

TEST_CASE("registry: etcd that hangs is told, Stop does not wait for it") {
  TestEtcd etcd;
  Daemon one(etcd, "n1");
  REQUIRE(one->WaitForNames({}));
  etcd.Pause();
  one.source().Refresh();
  REQUIRE(one->WaitFor([](const Seen& seen) { return !seen.errors.empty(); }, seconds(25)));
  one.source().Refresh();
  CHECK(one->TimeStop() < milliseconds(1500));
  etcd.Resume();
}

TEST_CASE("registry: etcd's users: one who may write, one who may not and is told so") {
  TestEtcd etcd;
  GrantRole(etcd, "reading", "READ", "/podmirror/web/", "/podmirror/web0");
  AddUser(etcd, "reader", "p", "reading");
  GrantRole(etcd, "writing", "READWRITE", "/podmirror/web/", "/podmirror/web0");
  AddUser(etcd, "writer", "p", "writing");
  EnableAuth(etcd);
  telemetry::Metrics metrics;
  EtcdOptions options = etcd.options();
  options.user = "reader";
  options.password_file = "/tmp/podmirror-registry-test-" + std::to_string(etcd.port());
  std::ofstream(options.password_file) << "p\n";
  Running one(NewRegistrySource(options, Options("n1"), metrics, Env::Real()));
  REQUIRE(one.WaitFor([](const Seen& seen) { return !seen.errors.empty(); }));
  CHECK(one.seen().errors[0].starts_with("not registered as /podmirror/web/10.0.0.1:7070: "));
  CHECK(one.seen().errors[0].find("permission denied") != std::string::npos);
  CHECK_FALSE(one.seen().set.has_value());
  options.user = "writer";
  Running two(NewRegistrySource(options, Options("n2"), metrics, Env::Real()));
  CHECK(two.WaitForNames({}));
  etcd.Kill();  // and with it all tokens
  etcd.Start();
  Running three(NewRegistrySource(options, Options("n3"), metrics, Env::Real()));
  CHECK(two.WaitForNames({"n3"}));
  CHECK(three.WaitForNames({"n2"}));
  std::filesystem::remove(options.password_file);
}

TEST_CASE("registry: settings that are wrong are named") {
  telemetry::Metrics metrics;
  EtcdOptions etcd;
  etcd.endpoints = {"http://127.0.0.1:1"};
  const auto refusal = [&](const std::function<void(RegistryOptions&)>& change) {
    RegistryOptions options = Options("n1");
    change(options);
    const auto source = NewRegistrySource(etcd, options, metrics, Env::Real());
    REQUIRE_FALSE(source.ok());
    return source.status().message();
  };
  CHECK(refusal([](RegistryOptions& o) { o.schema = "registry"; }) ==
        "registry-schema: \"registry\" is where Kubernetes keeps its own records");
  CHECK(refusal([](RegistryOptions& o) { o.schema = "a/b"; }).starts_with("registry-schema: "));
  CHECK(refusal([](RegistryOptions& o) { o.service = ""; }).starts_with("service: "));
  CHECK(refusal([](RegistryOptions& o) { o.self.ip = ""; }).starts_with("pod-ip: "));
  CHECK(refusal([](RegistryOptions& o) { o.self.ip = "::"; }).starts_with("pod-ip: "));
  CHECK(refusal([](RegistryOptions& o) { o.self.uid = ""; }).starts_with("pod-uid: "));
  CHECK(
      refusal([](RegistryOptions& o) { o.self.name = "a b"; }).starts_with("pod-name, pod-uid: "));
  CHECK(refusal([](RegistryOptions& o) { o.port = 0; }).starts_with("peer-port: "));
}

}  // namespace
}  // namespace podmirror::discovery
