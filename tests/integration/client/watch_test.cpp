// A client that watches real daemons.
#include <absl/base/thread_annotations.h>
#include <absl/synchronization/mutex.h>

#include <catch2/catch.hpp>
#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "certs/test_rules.h"
#include "integration/client/client_testing.h"
#include "integration/rpc/daemon.h"

namespace podmirror::client {
namespace {

using Kind = WatchEvent::Kind;
using std::chrono::seconds;

std::unique_ptr<Client> NewClient(const std::vector<rpc::Daemon*>& daemons, Options options = {}) {
  std::vector<int> ports;
  for (const rpc::Daemon* daemon : daemons) ports.push_back(daemon->port());
  auto made = Client::New(options, std::make_unique<TestSource>(ports));
  REQUIRE(made.ok());
  return std::move(*made);
}

// What one watch told, on a thread of its own. It ends by itself, with the client, or by Enough.
class Watching {
 public:
  Watching(Client& client, WatchOptions options)
      : thread_([this, &client, options = std::move(options)] {
          const Status status = client.Watch(options, [this](WatchEvent event) {
            absl::MutexLock lock(&mu_);
            events_.push_back(std::move(event));
            return !enough_;
          });
          absl::MutexLock lock(&mu_);
          status_ = status;
          ended_ = true;
        }) {}
  ~Watching() {
    Enough();
    thread_.join();
  }

  std::vector<WatchEvent> events() const {
    absl::MutexLock lock(&mu_);
    return events_;
  }
  // Of this kind, behind the first `after` events.
  bool Has(Kind kind, const std::string& key = "", std::size_t after = 0) const {
    absl::MutexLock lock(&mu_);
    for (std::size_t i = after; i < events_.size(); ++i) {
      if (events_[i].kind == kind && events_[i].entry.key == key) return true;
    }
    return false;
  }
  void Enough() {
    absl::MutexLock lock(&mu_);
    enough_ = true;
  }
  bool ended() const {
    absl::MutexLock lock(&mu_);
    return ended_;
  }
  Status status() const {
    absl::MutexLock lock(&mu_);
    return status_;
  }

 private:
  mutable absl::Mutex mu_;
  std::vector<WatchEvent> events_ ABSL_GUARDED_BY(mu_);
  bool enough_ ABSL_GUARDED_BY(mu_) = false;
  bool ended_ ABSL_GUARDED_BY(mu_) = false;
  Status status_ ABSL_GUARDED_BY(mu_);
  std::thread thread_;
};

TEST_CASE("client watch: the state, then each change, until it is enough") {
  rpc::Daemon daemon({"a"});
  REQUIRE(rpc::Connect({&daemon}));
  REQUIRE(daemon.Put("a/1", "one"));
  REQUIRE(daemon.Put("b/1", "other"));
  const auto client = NewClient({&daemon});
  Watching watching(*client, {.what = {.types = {1}, .prefix = "a/"}, .initial = true});
  REQUIRE(Eventually([&] { return watching.Has(Kind::kSynced); }));
  REQUIRE(daemon.Put("a/2", "two"));
  REQUIRE(client->Delete({{1, "a/1"}}).ok());
  REQUIRE(Eventually([&] { return watching.Has(Kind::kDeleted, "a/1"); }));
  CHECK(watching.Has(Kind::kPut, "a/1"));
  CHECK(watching.Has(Kind::kPut, "a/2"));
  CHECK_FALSE(watching.Has(Kind::kPut, "b/1"));
  for (const WatchEvent& event : watching.events()) {
    CHECK_FALSE(event.id.empty());
    if (event.kind == Kind::kPut && event.entry.key == "a/2") {
      CHECK(event.entry.value == "two");
      CHECK(event.entry.version == client->Get(1, "a/2")->version);
    }
  }
  watching.Enough();
  REQUIRE(daemon.Put("a/3", "three"));
  REQUIRE(Eventually([&] { return watching.ended(); }));
  CHECK(watching.status().ok());
}

TEST_CASE("client watch: it goes on behind an id where that is known, and begins anew elsewhere") {
  rpc::Daemon a({"a"});
  rpc::Daemon b({"b"});
  REQUIRE(rpc::Connect({&a, &b}));
  REQUIRE(a.Put("k", "1"));
  const auto client_of_a = NewClient({&a});
  std::string id;
  {
    Watching first(*client_of_a, {});
    REQUIRE(Eventually([&] { return first.Has(Kind::kSynced); }));
    first.Enough();
    REQUIRE(a.Put("k", "2"));
    REQUIRE(Eventually([&] { return first.ended(); }));
    id = first.events().back().id;
  }
  REQUIRE(a.Put("k", "3"));
  {
    Watching same(*client_of_a, {.since = id});
    REQUIRE(Eventually([&] { return same.Has(Kind::kSynced); }));
    CHECK_FALSE(same.Has(Kind::kReset));
    REQUIRE(same.events().size() == 2);
    CHECK(same.events().front().entry.value == "3");
    same.Enough();
    REQUIRE(a.Put("k", "4"));
  }
  const auto client_of_b = NewClient({&b});
  Watching other(*client_of_b, {.since = id});
  REQUIRE(Eventually([&] { return other.Has(Kind::kSynced); }));
  CHECK(other.events().front().kind == Kind::kReset);
  CHECK(other.Has(Kind::kPut, "k"));
  other.Enough();
  REQUIRE(a.Put("k", "5"));
}

TEST_CASE("client watch: a daemon ends, and another one tells all of it") {
  auto a = std::make_unique<rpc::Daemon>(rpc::DaemonOptions{.name = "a"});
  rpc::Daemon b({"b"});
  REQUIRE(rpc::Connect({a.get(), &b}));
  REQUIRE(a->Put("k", "1"));
  auto source = std::make_unique<TestSource>(std::vector<int>{a->port()});
  TestSource* const told = source.get();
  auto made = Client::New({}, std::move(source));
  REQUIRE(made.ok());
  Watching watching(**made, {.initial = true});
  REQUIRE(Eventually([&] { return watching.Has(Kind::kSynced); }));
  const std::size_t before = watching.events().size();
  told->Tell({a->port(), b.port()});
  a.reset();
  REQUIRE(Eventually([&] { return watching.Has(Kind::kSynced, "", before); }));
  CHECK(watching.events().at(before).kind == Kind::kReset);
  CHECK(watching.Has(Kind::kPut, "k", before));
  REQUIRE(b.Put("l", "2"));
  REQUIRE(Eventually([&] { return watching.Has(Kind::kPut, "l", before); }));
  made->reset();  // the client ends, and with it the watch
  REQUIRE(Eventually([&] { return watching.ended(); }));
  CHECK(watching.status().code() == Code::kUnavailable);
}

TEST_CASE("client watch: nobody to be watched is told in time") {
  rpc::Daemon daemon({"a"});  // it is not ready
  const auto client = NewClient({&daemon});
  const Status status =
      client->Watch({.give_up = milliseconds(300)}, [](const WatchEvent&) { return true; });
  CHECK(status.code() == Code::kUnavailable);
  CHECK(status.message().find("not-ready") != std::string::npos);
}

TEST_CASE("client watch: a client ends while nobody can be watched") {
  auto daemon = std::make_unique<rpc::Daemon>(rpc::DaemonOptions{.name = "a"});
  REQUIRE(rpc::Connect({daemon.get()}));
  auto client = NewClient({daemon.get()});
  Watching watching(*client, {.give_up = milliseconds(0)});
  REQUIRE(Eventually([&] { return watching.Has(Kind::kSynced); }));
  daemon.reset();
  REQUIRE(
      Eventually([&] { return client->GetDaemons().daemons.at(0).state != DaemonState::kReady; }));
  CHECK_FALSE(watching.ended());
  client.reset();
  REQUIRE(Eventually([&] { return watching.ended(); }));
  CHECK(watching.status().code() == Code::kUnavailable);
}

TEST_CASE("client watch: who may not is told so") {
  const testing::TestDir dir;
  const auto guard = testing::GuardBy(
      dir, testing::RoleFor("a", R"("watch", "read")", "types = [1]\nprefix = \"a/\""));
  rpc::Daemon daemon({.name = "a", .guard = guard.get()});
  REQUIRE(rpc::Connect({&daemon}));
  Options options;
  options.token_file = dir.Write("token", "a");
  options.allow_token_without_tls = true;
  const auto client = NewClient({&daemon}, options);
  const auto none = [](const WatchEvent&) { return true; };
  CHECK(client->Watch({.what = {.types = {2}}}, none).code() == Code::kRefused);
  CHECK(client->Watch({.what = {.prefix = "\xff"}}, none).code() == Code::kInvalid);
  Watching watching(*client, {.initial = true});
  REQUIRE(Eventually([&] { return watching.Has(Kind::kSynced); }));
  daemon.cache().Merge(podmirror::Entry::Make(1, "b/1", "secret", {5, 7}), 0);
  daemon.cache().Merge(podmirror::Entry::Make(1, "a/1", "v", {6, 7}), 0);
  REQUIRE(Eventually([&] { return watching.Has(Kind::kPut, "a/1"); }));
  CHECK_FALSE(watching.Has(Kind::kPut, "b/1"));
  watching.Enough();
  daemon.cache().Merge(podmirror::Entry::Make(1, "a/2", "v", {7, 7}), 0);
}

}  // namespace
}  // namespace podmirror::client
