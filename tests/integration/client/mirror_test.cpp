// A Mirror of real daemons on loopback: what it holds, what it says of itself, and what happens
// when daemons fail.
#include "client/mirror.h"

#include <absl/base/thread_annotations.h>
#include <absl/synchronization/mutex.h>

#include <atomic>
#include <catch2/catch.hpp>
#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "certs/test_rules.h"
#include "integration/client/client_testing.h"
#include "integration/rpc/daemon.h"

namespace podmirror::client {
namespace {

using Server = rpc::Daemon;
using std::chrono::seconds;

std::unique_ptr<Server> NewServer(const std::string& name, rpc::DaemonOptions options = {}) {
  options.name = name;
  return std::make_unique<Server>(options);
}

// A daemon that is alone, and ready.
std::unique_ptr<Server> NewLoneServer(const std::string& name, rpc::DaemonOptions options = {}) {
  auto server = NewServer(name, std::move(options));
  REQUIRE(rpc::Connect({server.get()}));
  return server;
}

std::unique_ptr<Mirror> NewMirror(const std::vector<Server*>& servers, MirrorOptions mirror = {},
                                  const Options& options = {}) {
  std::vector<int> ports;
  for (const Server* server : servers) ports.push_back(server->port());
  auto made = Mirror::New(options, std::move(mirror), std::make_unique<TestSource>(ports));
  REQUIRE(made.ok());
  return std::move(*made);
}

std::string ValueOf(const Mirror& mirror, const std::string& key, std::int32_t type = 1) {
  const MirrorEntry entry = mirror.Get(type, key);
  return entry ? std::string(entry.value()) : "";
}

std::uint64_t CountOf(const Mirror& mirror) {
  std::uint64_t count = 0;
  mirror.ForEach([&](const MirrorEntry&) { return ++count != 0; });
  return count;
}

// What a Mirror told of changes.
class Told {
 public:
  std::function<void(const MirrorChange&)> listener() {
    return [this](const MirrorChange& change) {
      absl::MutexLock lock(&mu_);
      changes_.push_back(change);
    };
  }
  std::vector<MirrorChange> changes() const {
    absl::MutexLock lock(&mu_);
    return changes_;
  }
  bool Has(MirrorChange::Kind kind, const std::string& key) const {
    for (const MirrorChange& change : changes()) {
      if (change.kind == kind && (!change.entry || change.entry.key() == key)) return true;
    }
    return false;
  }

 private:
  mutable absl::Mutex mu_;
  std::vector<MirrorChange> changes_ ABSL_GUARDED_BY(mu_);
};

TEST_CASE("mirror: it has what the daemon has, and each change") {
  const auto server = NewLoneServer("a");
  for (int i = 0; i < 3000; ++i) REQUIRE(server->Put("k" + std::to_string(i), "v"));
  const auto mirror = NewMirror({server.get()});
  REQUIRE(mirror->WaitSynced(seconds(15)));
  CHECK(CountOf(*mirror) == 3000);
  CHECK(ValueOf(*mirror, "k77") == "v");
  CHECK_FALSE(mirror->Get(1, "none"));
  CHECK_FALSE(mirror->Get(2, "k77"));

  REQUIRE(server->Put("k77", "w"));
  REQUIRE(server->Put("large", std::string(3 << 20, 'l')));
  CHECK(Eventually([&] { return ValueOf(*mirror, "k77") == "w"; }));
  CHECK(Eventually([&] { return ValueOf(*mirror, "large").size() == 3 << 20; }));
  CHECK(Eventually([&] { return mirror->Status().equal; }));
  const MirrorStatus status = mirror->Status();
  CHECK(status.state == MirrorState::kSynced);
  CHECK(status.age < seconds(5));
  CHECK(status.entries == 3001);
  CHECK(status.received == 3002);
  CHECK(status.daemon == "daemon-" + std::to_string(server->port()));
  CHECK(status.error.empty());
}

TEST_CASE("mirror: it is synced under writes that never pause") {
  const auto server = NewLoneServer("a");
  std::atomic<bool> stop = false;
  std::thread writer([&] {
    for (int i = 0; !stop; ++i) {
      const std::string key = "k" + std::to_string(i % 5000);
      const sync::WriteItem item{1, key, "v", false, 0};
      server->driver().Write({&item, 1}, {}, [](const sync::WriteOutcome&) {});
    }
  });
  const auto mirror = NewMirror({server.get()});
  const auto part = NewMirror({server.get()}, {.what = {.types = {1}}});
  const auto other = NewMirror({server.get()}, {.what = {.types = {2}}});
  const bool synced = mirror->WaitSynced(seconds(15)) && part->WaitSynced(seconds(15)) &&
                      other->WaitSynced(seconds(15));
  CHECK(synced);
  CHECK(mirror->Status().state == MirrorState::kSynced);
  CHECK(mirror->Status().age < seconds(5));
  stop = true;
  writer.join();
  CHECK(Eventually([&] { return mirror->Status().equal; }));
  CHECK(Eventually([&] { return CountOf(*part) == server->cache().Stats().entries; }));
  CHECK(mirror->Status().daemons_followed == 1);
  CHECK(part->Status().daemons_followed == 1);
}

TEST_CASE("mirror: an entry stays what it was for who holds it") {
  const auto server = NewLoneServer("a");
  REQUIRE(server->Put("k", "one"));
  auto mirror = NewMirror({server.get()});
  REQUIRE(mirror->WaitSynced(seconds(15)));
  const MirrorEntry held = mirror->Get(1, "k");
  REQUIRE(server->Put("k", "two"));
  REQUIRE(Eventually([&] { return ValueOf(*mirror, "k") == "two"; }));
  mirror.reset();
  CHECK(held.value() == "one");
  CHECK(held.key() == "k");
  CHECK(held.type() == 1);
  CHECK(held.version().size() == 33);
}

TEST_CASE("mirror: it tells changes, and why an entry is gone") {
  const auto server = NewLoneServer("a");
  REQUIRE(server->Put("k", "one"));
  Told told;
  const auto mirror = NewMirror({server.get()}, {.on_change = told.listener()});
  REQUIRE(mirror->WaitSynced(seconds(15)));
  REQUIRE(server->Put("k", "two"));
  const sync::WriteItem gone{1, "k", "", true, 0};
  REQUIRE(server->driver().Write({&gone, 1}, {}, [](const sync::WriteOutcome&) {}) ==
          sync::WriteRefusal::kNone);
  const sync::WriteItem soon{1, "soon", "v", false, 200};
  REQUIRE(server->driver().Write({&soon, 1}, {}, [](const sync::WriteOutcome&) {}) ==
          sync::WriteRefusal::kNone);
  CHECK(Eventually([&] { return told.Has(MirrorChange::Kind::kExpired, "soon"); }));
  CHECK_FALSE(mirror->Get(1, "soon"));
  CHECK_FALSE(mirror->Get(1, "k"));
  std::vector<std::string> of_k;
  for (const MirrorChange& change : told.changes()) {
    if (!change.entry || change.entry.key() != "k") continue;
    of_k.push_back(change.kind == MirrorChange::Kind::kPut ? std::string(change.entry.value())
                                                           : "deleted");
  }
  CHECK(of_k == std::vector<std::string>{"one", "two", "deleted"});
}

TEST_CASE("mirror: when its daemon is gone it reads on, and goes on at another by the difference") {
  auto a = NewServer("a");
  auto b = NewServer("b");
  REQUIRE(rpc::Connect({a.get(), b.get()}));
  for (int i = 0; i < 2000; ++i) REQUIRE(a->Put("k" + std::to_string(i), "v"));
  REQUIRE(Eventually([&] { return b->cache().digest() == a->cache().digest(); }));
  const auto mirror = NewMirror({a.get(), b.get()});
  REQUIRE(mirror->WaitSynced(seconds(15)));
  const bool follows_a = mirror->Status().daemon == "daemon-" + std::to_string(a->port());
  std::unique_ptr<Server>& followed = follows_a ? a : b;
  Server& other = follows_a ? *b : *a;

  followed.reset();
  CHECK(ValueOf(*mirror, "k5") == "v");
  const std::uint64_t before = mirror->Status().received;
  REQUIRE(other.Put("k5", "w"));
  const Stopwatch watch;
  REQUIRE(Eventually([&] { return ValueOf(*mirror, "k5") == "w"; }));
  CHECK(watch.elapsed() < seconds(5));
  REQUIRE(mirror->WaitSynced(seconds(15)));
  CHECK(Eventually([&] { return mirror->Status().equal; }));
  CHECK(mirror->Status().received - before == 1);
  CHECK(mirror->Status().daemons_followed >= 2);
}

TEST_CASE("mirror: without any daemon it is stale, and says since when and why") {
  auto server = NewLoneServer("a");
  REQUIRE(server->Put("k", "v"));
  const auto mirror = NewMirror({server.get()});
  REQUIRE(mirror->WaitSynced(seconds(15)));
  server.reset();
  REQUIRE(Eventually([&] { return mirror->Status().state == MirrorState::kStale; }));
  CHECK(ValueOf(*mirror, "k") == "v");
  const auto age = mirror->Status().age;
  CHECK(Eventually([&] { return mirror->Status().age > age + std::chrono::milliseconds(50); }));
  CHECK_FALSE(mirror->Status().error.empty());
  CHECK_FALSE(mirror->WaitSynced(std::chrono::milliseconds(10)));
  CHECK(ToString(mirror->Status().state) == "stale");
}

TEST_CASE("mirror: it does not start while there is no daemon, and ends at once") {
  auto made = Mirror::New({}, {}, std::make_unique<TestSource>(std::vector<int>{1}));
  REQUIRE(made.ok());
  CHECK_FALSE((*made)->WaitSynced(std::chrono::milliseconds(50)));
  CHECK((*made)->Status().state == MirrorState::kStarting);
  CHECK(Eventually([&] { return !(*made)->Status().error.empty(); }));
  const Stopwatch watch;
  made->reset();
  CHECK(watch.elapsed() < seconds(3));
}

TEST_CASE("mirror: what does not fit is not taken, and it says so") {
  const auto server = NewLoneServer("a");
  for (int i = 0; i < 100; ++i) {
    REQUIRE(server->Put("k" + std::to_string(i), std::string(10'000, 'v')));
  }
  const auto mirror = NewMirror({server.get()}, {.max_bytes = 500'000});
  REQUIRE(
      Eventually([&] { return mirror->Status().error.find("500000 bytes") != std::string::npos; }));
  CHECK(mirror->Status().state == MirrorState::kStarting);
  CHECK(mirror->Status().bytes <= 500'000);
}

TEST_CASE("mirror: a part, by type and prefix") {
  auto a = NewServer("a");
  auto b = NewServer("b");
  REQUIRE(rpc::Connect({a.get(), b.get()}));
  REQUIRE(a->Put("flags/a", "1"));
  REQUIRE(a->Put("flags/gone", "1"));
  REQUIRE(a->Put("routes/a", "1"));
  REQUIRE(a->Put("flags/large", std::string(2 << 20, 'l')));
  REQUIRE(Eventually([&] { return b->cache().digest() == a->cache().digest(); }));
  Told told;
  const auto mirror = NewMirror({a.get(), b.get()}, {.what = {.types = {1}, .prefix = "flags/"},
                                                     .on_change = told.listener()});
  REQUIRE(mirror->WaitSynced(seconds(15)));
  CHECK(CountOf(*mirror) == 3);
  CHECK(ValueOf(*mirror, "flags/large").size() == 2 << 20);
  REQUIRE(a->Put("routes/b", "2"));
  REQUIRE(a->Put("flags/b", "2"));
  REQUIRE(Eventually([&] { return ValueOf(*mirror, "flags/b") == "2"; }));
  CHECK(CountOf(*mirror) == 4);

  const bool follows_a = mirror->Status().daemon == "daemon-" + std::to_string(a->port());
  REQUIRE(Eventually([&] { return b->cache().digest() == a->cache().digest(); }));
  std::unique_ptr<Server>& followed = follows_a ? a : b;
  Server& other = follows_a ? *b : *a;
  followed.reset();
  const sync::WriteItem gone{1, "flags/gone", "", true, 0};
  REQUIRE(other.driver().Write({&gone, 1}, {}, [](const sync::WriteOutcome&) {}) ==
          sync::WriteRefusal::kNone);
  REQUIRE(Eventually([&] { return !mirror->Get(1, "flags/gone"); }));
  REQUIRE(mirror->WaitSynced(seconds(15)));
  CHECK(CountOf(*mirror) == 3);
  CHECK(ValueOf(*mirror, "flags/b") == "2");
}

TEST_CASE("mirror: who may watch a part follows that, and is told so of the rest") {
  const testing::TestDir dir;
  const auto guard =
      testing::GuardBy(dir, testing::RoleFor("a", R"("watch")", "types = [1]\nprefix = \"a/\""));
  const auto server = NewLoneServer("a", {.guard = guard.get()});
  REQUIRE(server->Put("a/x", "v"));
  REQUIRE(server->Put("b/x", "secret"));
  Options options;
  options.token_file = dir.Write("token", "a");
  options.allow_token_without_tls = true;
  const auto part = NewMirror({server.get()}, {.what = {.types = {1}}}, options);
  REQUIRE(part->WaitSynced(seconds(15)));
  CHECK(CountOf(*part) == 1);
  const auto whole = NewMirror({server.get()}, {}, options);
  const bool told = Eventually([&] {
    return whole->Status().error.find("watch on all types and keys") != std::string::npos;
  });
  INFO(whole->Status().error);
  CHECK(told);
  CHECK(CountOf(*whole) == 0);
}

TEST_CASE("mirror: a prefix that is no text is refused") {
  auto source = std::make_unique<TestSource>(std::vector<int>{1});
  const auto made = Mirror::New({}, {.what = {.prefix = "\xff"}}, std::move(source));
  CHECK(made.status().code() == Code::kInvalid);
}

}  // namespace
}  // namespace podmirror::client
