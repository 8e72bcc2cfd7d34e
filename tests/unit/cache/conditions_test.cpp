// Merges on a condition: what holds, what is told, and that nothing comes between.
#include <algorithm>
#include <atomic>
#include <catch2/catch.hpp>
#include <cstdint>
#include <string>
#include <thread>
#include <vector>

#include "cache/cache.h"
#include "cache_testing.h"

namespace podmirror {
namespace {

constexpr WallMs kNow = 1'700'000'000'000;
constexpr Version kBase{10, 1};
constexpr Version kNext{20, 2};

TEST_CASE("a merge on a version needs that very version") {
  Cache cache;
  const EntryRef next = Entry::Make(1, "k", "next", kNext);

  CHECK_FALSE(cache.MergeIf(next, {kBase}, kNow).merged);
  CHECK_FALSE(cache.MergeIf(next, {kBase}, kNow).was);
  CHECK(cache.Stats().entries == 0);

  cache.Merge(Entry::Make(1, "k", "other", {10, 2}), kNow);
  const ConditionalMerge other = cache.MergeIf(next, {kBase}, kNow);
  CHECK_FALSE(other.merged);
  REQUIRE(other.was);
  CHECK(other.was->version() == Version{10, 2});
  CHECK(cache.Find(1, "k", kNow)->value() == "other");

  const ConditionalMerge done = cache.MergeIf(next, {Version{10, 2}}, kNow);
  CHECK(done.merged);
  REQUIRE(done.was);
  CHECK(done.was->value() == "other");
  CHECK(cache.Find(1, "k", kNow).get() == next.get());
  CheckInvariants(cache);
}

TEST_CASE("a tombstone and an expired entry have no version to match") {
  Cache cache;
  cache.Merge(Entry::MakeTombstone(1, "deleted", kBase), kNow);
  cache.Merge(Entry::Make(1, "expiring", "v", kBase, kNow + 1), kNow);
  for (const char* key : {"deleted", "expiring"}) {
    CAPTURE(key);
    const EntryRef next = Entry::Make(1, key, "next", kNext);
    const ConditionalMerge refused = cache.MergeIf(next, {kBase}, kNow + 1);
    CHECK_FALSE(refused.merged);
    CHECK(refused.was->version() == kBase);
    CHECK(cache.MergeIf(next, {}, kNow + 1).merged);
    CHECK(cache.Find(1, key, kNow + 1).get() == next.get());
  }
  CheckInvariants(cache);
}

TEST_CASE("an entry counts as live until the very millisecond of its expiry") {
  Cache cache;
  cache.Merge(Entry::Make(1, "k", "v", kBase, kNow + 1), kNow);
  const EntryRef next = Entry::Make(1, "k", "next", kNext);
  CHECK_FALSE(cache.MergeIf(next, {}, kNow).merged);
  CHECK(cache.MergeIf(next, {kBase}, kNow).merged);
}

TEST_CASE("a merge on nothing needs that nothing is live") {
  Cache cache;
  const ConditionalMerge added = cache.MergeIf(Entry::Make(1, "k", "v", kBase), {}, kNow);
  CHECK(added.merged);
  CHECK_FALSE(added.was);

  const ConditionalMerge second = cache.MergeIf(Entry::Make(1, "k", "next", kNext), {}, kNow);
  CHECK_FALSE(second.merged);
  CHECK(second.was->version() == kBase);
  CHECK(cache.Find(1, "k", kNow)->value() == "v");
}

TEST_CASE("a delete on a condition leaves a tombstone") {
  Cache cache;
  cache.Merge(Entry::Make(1, "k", "v", kBase), kNow);
  CHECK(cache.MergeIf(Entry::MakeTombstone(1, "k", kNext), {kBase}, kNow).merged);
  CHECK(cache.Peek(1, "k")->tombstone());
  CheckInvariants(cache);
}

TEST_CASE("what is not newer is not merged though its condition holds") {
  Cache cache;
  const EntryRef stored = Entry::Make(1, "k", "v", kNext);
  cache.Merge(stored, kNow);
  CHECK_FALSE(cache.MergeIf(Entry::Make(1, "k", "older", kBase), {kNext}, kNow).merged);
  CHECK_FALSE(cache.MergeIf(Entry::Make(1, "k", "same", kNext), {kNext}, kNow).merged);
  CHECK(cache.Find(1, "k", kNow).get() == stored.get());
  CheckInvariants(cache);
}

TEST_CASE("of two threads that create an entry at the same time one succeeds") {
  constexpr std::uint64_t kThreads = 2;
  constexpr std::uint64_t kRounds = 20'000;
  Cache cache;
  std::vector<std::atomic<int>> merged(kRounds);
  // They wait in a circle: one that slept would come when the other is long done.
  std::atomic<std::uint64_t> arrived{0};
  std::vector<std::thread> threads;
  for (std::uint64_t origin = 1; origin <= kThreads; ++origin) {
    threads.emplace_back([&, origin] {
      for (std::uint64_t i = 0; i < kRounds; ++i) {
        const EntryRef mine = Entry::Make(1, "k" + std::to_string(i), "v", {1, origin});
        ++arrived;
        for (int spins = 0; arrived.load() < kThreads * (i + 1); ++spins) {
          if (spins > 1000) std::this_thread::yield();  // the other one has no processor
        }
        if (cache.MergeIf(mine, {}, kNow).merged) ++merged[i];
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(std::all_of(merged.begin(), merged.end(), [](const auto& count) { return count == 1; }));
  CHECK(cache.Stats().entries == kRounds);
  CheckInvariants(cache);
}

}  // namespace
}  // namespace podmirror
