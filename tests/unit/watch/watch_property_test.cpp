// Whatever happens in whichever order, a watcher that has caught up holds what the cache holds, and
// no version that it was told went back.
#include <atomic>
#include <catch2/catch.hpp>
#include <random>
#include <thread>

#include "watch_testing.h"

namespace podmirror::watch {
namespace {

// One change of a random kind. Versions come in any order.
void Change(Watched& watched, std::mt19937_64& random, WallMs now) {
  const std::string key = "k" + std::to_string(random() % 40);
  const std::uint64_t hlc = 10 + random() % 5000;
  switch (random() % 8) {
    case 0:
      watched.Delete(key, hlc);
      break;
    case 1:
      watched.Put(key, hlc, "ttl" + std::to_string(hlc),
                  kWall - 5 + static_cast<WallMs>(random() % 50));
      break;
    case 2:
      watched.cache.Sweep(now);
      break;
    case 3:
      if (random() % 20 == 0) {
        watched.cache.Drop(std::vector{KeyHash(1, key)}, 1 + random() % 2000, now);
      }
      break;
    default:
      watched.Put(key, hlc, "v" + std::to_string(hlc));
  }
}

TEST_CASE("a watcher holds what the cache holds, in any order of events") {
  for (std::uint64_t seed = 1; seed <= 100; ++seed) {
    std::mt19937_64 random(seed);
    Watched watched(400 + random() % 3000);
    std::vector<std::pair<std::unique_ptr<Watcher>, Copy>> readers;
    for (int i = 0; i < 30; ++i) Change(watched, random, kWall);
    for (int i = 0; i < 4; ++i) readers.emplace_back(watched.Open({.initial = true}), Copy());
    for (int i = 0; i < 2000; ++i) {
      Change(watched, random, kWall + i / 50);
      auto& [watcher, copy] = readers[random() % readers.size()];
      if (random() % 3 == 0) {
        if (const PartRef part = watcher->Next({0, kWall})) copy.Apply(part->bytes());
      }
      if (random() % 200 == 0) {  // connects again
        watcher.reset();
        watcher = watched.Open({.resume = true, .since = Token::Parse(copy.token)});
      }
    }
    watched.cache.Sweep(kWall + 1000);
    for (auto& [watcher, copy] : readers) {
      copy.Apply(ReadAll(*watcher));
      INFO("seed " << seed);
      REQUIRE(copy.wrong == 0);
      REQUIRE(copy.synced > 0);
      REQUIRE(copy.entries == Live(watched.cache, kWall + 1000));
    }
  }
}

TEST_CASE("a watcher holds what the cache holds, while threads write") {
  Watched watched(20'000);
  constexpr int kWriters = 3;
  std::atomic<int> writing{kWriters};
  std::vector<std::thread> threads;
  for (int writer = 0; writer < kWriters; ++writer) {
    threads.emplace_back([&, writer] {
      std::mt19937_64 random(static_cast<std::uint64_t>(writer));
      for (int i = 0; i < 10'000; ++i) Change(watched, random, kWall);
      --writing;
    });
  }
  std::vector<Copy> copies(2);
  for (Copy& copy : copies) {
    threads.emplace_back([&] {
      auto watcher = watched.Open({.initial = true});
      for (int reads = 1; writing.load() > 0; ++reads) {
        if (const PartRef part = watcher->Next({0, kWall})) copy.Apply(part->bytes());
        if (reads % 5000 == 0) {
          watcher = watched.Open({.resume = true, .since = Token::Parse(copy.token)});
        }
      }
      copy.Apply(ReadAll(*watcher));
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const Copy& copy : copies) {
    CHECK(copy.wrong == 0);
    CHECK(copy.synced > 0);
    // What has expired and is not swept is told by no change yet.
    for (const auto& [key, value] : Live(watched.cache)) {
      const auto told = copy.entries.find(key);
      CHECK((told != copy.entries.end() && told->second == value));
    }
  }
}

}  // namespace
}  // namespace podmirror::watch
