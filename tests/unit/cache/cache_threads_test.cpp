// Meant for a run under ThreadSanitizer; without one it still checks what readers see.
#include <atomic>
#include <catch2/catch.hpp>
#include <map>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "cache/cache.h"
#include "cache_testing.h"

namespace podmirror {
namespace {

constexpr WallMs kNow = 1'700'000'000'000;
constexpr int kWriters = 3;

// The value tells key and version, so that a reader can see whether all of it fits together.
std::string ValueOf(std::string_view key, Version version) {
  return std::string(key) + "@" + version.ToString();
}

// One writer's share of puts, deletes and expiring puts over keys that all writers use.
void Write(Cache& cache, std::uint64_t origin, int count) {
  std::mt19937_64 random(origin);
  for (int i = 1; i <= count; ++i) {
    const std::string key = "key" + std::to_string(random() % 3000);
    const Version version{static_cast<std::uint64_t>(i), origin};
    switch (random() % 4) {
      case 0:
        cache.Merge(Entry::MakeTombstone(1, key, version), kNow);
        break;
      case 1:
        cache.Merge(Entry::Make(1, key, ValueOf(key, version), version, kNow + 1 + i % 20), kNow);
        break;
      case 2: {
        const EntryRef entry = Entry::Make(1, key, ValueOf(key, version), version);
        cache.MergeWarm({&entry, 1}, cache.Warm({&entry, 1}), kNow);
        break;
      }
      default:
        cache.Merge(Entry::Make(1, key, ValueOf(key, version), version), kNow);
    }
  }
}

TEST_CASE("any thread may do anything at any time") {
  Cache cache;
  constexpr int kWrites = 10000;
  std::atomic<int> writing{kWriters};
  std::atomic<int> torn{0};
  std::vector<std::thread> threads;
  for (int origin = 1; origin <= kWriters; ++origin) {
    threads.emplace_back([&, origin] {
      Write(cache, origin, kWrites);
      --writing;
    });
  }
  threads.emplace_back([&] {
    std::mt19937_64 random(99);
    while (writing > 0) {
      const std::string key = "key" + std::to_string(random() % 3000);
      const EntryRef entry = cache.Find(1, key, kNow);
      if (entry && entry->value() != ValueOf(key, entry->version())) ++torn;
    }
  });
  threads.emplace_back([&] {
    for (std::uint64_t round = 0; writing > 0; ++round) {
      cache.Sweep(kNow + static_cast<WallMs>(round % 20));
      PurgeTo(cache, round);
      cache.group_sums();
      cache.Stats();
      cache.Types();
    }
  });
  for (std::thread& thread : threads) thread.join();
  CHECK(torn == 0);
  CheckInvariants(cache);
}

TEST_CASE("writers on many threads agree with one thread") {
  Cache cache;
  constexpr int kWrites = 10000;
  std::vector<std::thread> threads;
  for (int origin = 1; origin <= kWriters; ++origin) {
    threads.emplace_back([&, origin] { Write(cache, origin, kWrites); });
  }
  for (std::thread& thread : threads) thread.join();
  Cache one;
  for (int origin = 1; origin <= kWriters; ++origin) Write(one, origin, kWrites);
  CHECK(Contents(cache) == Contents(one));
  CHECK(cache.digest() == one.digest());
  CHECK(cache.Stats().entries == one.Stats().entries);
}

TEST_CASE("a scan by buckets shows what exists throughout exactly once, whatever goes on") {
  Cache cache;
  constexpr int kSteady = 3000;
  for (int i = 0; i < kSteady; ++i) {
    cache.Merge(Entry::Make(2, "steady" + std::to_string(i), "v", {1, 1}), kNow);
  }
  std::atomic<bool> done{false};
  std::thread writer([&] {
    // Comes and goes all around the steady ones, so that their places in the table move.
    for (std::uint64_t hlc = 2; !done; ++hlc) {
      Write(cache, hlc, 2000);
      PurgeTo(cache, hlc);
      PurgeTo(cache, 2000 + hlc);
    }
  });
  for (int scan = 0; scan < 10; ++scan) {
    std::map<std::string, int> seen;
    for (std::uint32_t bucket = 0; bucket < kBuckets; ++bucket) {
      for (const EntryRef& entry : cache.Bucket(bucket)) {
        if (entry->type() == 2) ++seen[std::string(entry->key())];
      }
    }
    CHECK(seen.size() == kSteady);
    for (const auto& [key, times] : seen) {
      if (times != 1) FAIL_CHECK(key << " came " << times << " times");
    }
  }
  done = true;
  writer.join();
  CheckInvariants(cache);
}

}  // namespace
}  // namespace podmirror
