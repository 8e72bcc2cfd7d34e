// Merges on a condition: what holds, what is told, and that nothing comes between.
#include <catch2/catch.hpp>
#include <cstdint>
#include <set>
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

TEST_CASE("of all threads that replace one version one succeeds") {
  constexpr int kThreads = 4;
  constexpr std::uint64_t kRounds = 2000;
  Cache cache;
  std::vector<std::vector<Version>> replaced(kThreads);  // what each thread has replaced
  std::vector<std::thread> threads;
  for (std::uint64_t origin = 1; origin <= kThreads; ++origin) {
    threads.emplace_back([&cache, &mine = replaced[origin - 1], origin] {
      for (std::uint64_t i = 0; i < kRounds; ++i) {
        const EntryRef seen = cache.Find(1, "k", kNow);
        Condition condition;
        if (seen) condition.version = seen->version();
        const Version base = condition.version.value_or(Version{});
        const EntryRef next = Entry::Make(1, "k", "v", {base.hlc + 1, origin});
        if (cache.MergeIf(next, condition, kNow).merged) mine.push_back(base);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  std::size_t count = 0;
  std::set<Version> bases;
  for (const auto& mine : replaced) {
    count += mine.size();
    bases.insert(mine.begin(), mine.end());
  }
  CHECK(count >= kRounds);
  CHECK(bases.size() == count);
  CHECK(cache.Find(1, "k", kNow)->version().hlc == count);
  CheckInvariants(cache);
}

}  // namespace
}  // namespace podmirror
