// The driver from many threads at once; what this is for shows under ThreadSanitizer.
#include <atomic>
#include <catch2/catch.hpp>
#include <thread>

#include "sync/sync_testing.h"

namespace podmirror::sync {
namespace {

constexpr int kRounds = 300;

class SharedEnv final : public Env {
 public:
  Now now() const override {
    const std::int64_t ms = ms_.fetch_add(1, std::memory_order_relaxed);
    return {1000 + ms, kStartWall + ms};
  }
  std::uint64_t Random() override { return random_.fetch_add(0x9E3779B97F4A7C15); }

 private:
  mutable std::atomic<std::int64_t> ms_{0};
  std::atomic<std::uint64_t> random_{1};
};

// Every stream opens, nobody ever answers.
class DeafTransport final : public Transport {
 public:
  void Dial(ConnId conn, const PodRecord&, bool) override { last_dialled = conn; }
  void Wake(ConnId) override {}
  void Close(ConnId) override {}
  std::atomic<ConnId> last_dialled{0};
};

Introduction IntroOf(int pod) {
  Introduction intro;
  intro.uid = "uid-" + std::to_string(pod);
  intro.cluster = OptionsOf(pod).cluster;
  intro.incarnation = 0xB0000 + static_cast<Incarnation>(pod);
  intro.hlc = HlcOf(kStartWall);
  return intro;
}

TEST_CASE("the driver may be called from any thread") {
  SharedEnv env;
  Cache cache;
  DeafTransport transport;
  std::atomic<int> events{0};
  std::atomic<int> told{0};
  Driver driver(OptionsOf(1), cache, env, transport, [&](const Event&) { ++events; });
  driver.SetPeers(SetOf({}));
  REQUIRE(driver.ready());

  std::vector<std::thread> threads;
  const auto run = [&](auto step) {
    threads.emplace_back([step] {
      for (int i = 0; i < kRounds; ++i) step(i);
    });
  };
  for (const char* name : {"a", "b"}) {
    run([&, name](int i) {
      const std::string key = name + std::to_string(i);
      WriteItem item;
      item.type = 1;
      item.key = key;
      driver.Write({&item, 1}, {AckLevel::kAll, 10}, [&](const WriteOutcome&) { ++told; });
    });
  }
  run([&](int) { driver.Tick(); });
  run([&](int i) { driver.SetPeers(SetOf(i % 10 == 0 ? std::vector<int>{} : std::vector{2, 3})); });
  run([&](int) {
    (void)driver.Status();
    (void)driver.Peers();
  });
  run([&](int i) {  // the inbound streams of a peer
    const ConnId conn = driver.Accept();
    driver.Receive(conn, Hello{IntroOf(2), {}});
    const std::string key = "peer" + std::to_string(i);
    driver.Receive(conn, Batch{1, 1, {Entry::Make(1, key, "v", {HlcOf(kStartWall), 2})}});
    driver.Receive(conn, SumsRequest{1, {}});
    while (driver.Next(conn)) {
    }
    driver.Closed(conn, {Code::kUnavailable, "reset"});
  });
  run([&](int) {  // our own links
    const ConnId conn = transport.last_dialled;
    driver.Opened(conn);
    HelloReply reply;
    reply.self = IntroOf(3);
    if (driver.Next(conn)) driver.Receive(conn, reply);
    (void)driver.Next(conn);
  });
  for (std::thread& thread : threads) thread.join();

  driver.SetPeers(SetOf({}));  // whoever still waits is told
  CHECK(told == 2 * kRounds);
  CHECK(events > 0);
  CHECK(cache.Stats().entries == 3 * kRounds);
}

// The peer's clock is ahead, so that each of its writes is newer than all touches before it. One
// that comes in while a touch is under way may be older than that, and is then never seen.
TEST_CASE("touches never bring back a value, whatever a peer writes meanwhile") {
  SharedEnv env;
  Cache cache;
  DeafTransport transport;
  Driver driver(OptionsOf(1), cache, env, transport, {});
  driver.SetPeers(SetOf({}));
  REQUIRE(driver.ready());
  driver.SetPeers(SetOf({2}));
  const ConnId conn = driver.Accept();
  driver.Receive(conn, Hello{IntroOf(2), {}});
  constexpr int kWrites = 10 * kRounds;
  const auto write = [&](int value) {
    const Version version{HlcOf(kStartWall + 3'600'000 + value), 2};
    const auto number = static_cast<std::uint64_t>(value);
    driver.Receive(conn,
                   Batch{number, number, {Entry::Make(1, "k", std::to_string(value), version)}});
  };
  write(1);
  std::atomic<bool> over{false};
  std::atomic<int> touches{0};
  std::thread toucher([&] {
    while (!over) {
      const WriteItem item{
          .type = 1, .key = "k", .value = {}, .remove = false, .ttl_ms = 1'000'000, .touch = true};
      driver.Write({&item, 1}, {AckLevel::kLocal, 0}, [&](const WriteOutcome& outcome) {
        if (outcome.absent.empty()) ++touches;
      });
    }
  });
  int seen = 0;
  int went_back = 0;
  const auto look = [&] {
    const int value = std::stoi(std::string(cache.Peek(1, "k")->value()));
    if (value < seen) ++went_back;
    seen = value;
  };
  for (int value = 2; value <= kWrites; ++value) {
    write(value);
    look();
    look();
  }
  over = true;
  toucher.join();
  look();
  CHECK(went_back == 0);
  CHECK(touches > 0);
}

}  // namespace
}  // namespace podmirror::sync
