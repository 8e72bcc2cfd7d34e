#include "cache/cache.h"

#include <catch2/catch.hpp>
#include <limits>
#include <string>
#include <vector>

#include "cache_testing.h"

namespace podmirror {
namespace {

using namespace std::string_view_literals;

constexpr WallMs kNow = 1'700'000'000'000;

EntryRef Live(std::uint64_t hlc, std::string_view value = "value", WallMs expires_at = 0) {
  return Entry::Make(1, "key", value, {hlc, 1}, expires_at);
}
EntryRef Dead(std::uint64_t hlc) { return Entry::MakeTombstone(1, "key", {hlc, 1}); }

TEST_CASE("an empty cache holds nothing") {
  const Cache cache;
  CHECK_FALSE(cache.Find(1, "key", kNow));
  CHECK_FALSE(cache.Peek(1, "key"));
  CHECK(cache.digest() == 0);
  CHECK(cache.memory_bytes() == 0);
  CHECK(cache.Types().empty());
  CheckInvariants(cache);
}

TEST_CASE("the greater version wins") {
  Cache cache;
  CHECK(cache.Merge(Live(5, "five"), kNow) == MergeResult::kAdded);
  CHECK(cache.Merge(Live(4, "four"), kNow) == MergeResult::kOlder);
  CHECK(cache.Merge(Live(5, "five"), kNow) == MergeResult::kSame);
  CHECK(cache.Find(1, "key", kNow)->value() == "five");
  CHECK(cache.Merge(Live(6, "six"), kNow) == MergeResult::kReplaced);
  CHECK(cache.Find(1, "key", kNow)->value() == "six");
  // Of two with one hlc the greater origin.
  CHECK(cache.Merge(Entry::Make(1, "key", "other"sv, {6, 0}), kNow) == MergeResult::kOlder);
  CHECK(cache.Merge(Entry::Make(1, "key", "other"sv, {6, 2}), kNow) == MergeResult::kReplaced);
  CHECK(cache.Find(1, "key", kNow)->value() == "other");
  CheckInvariants(cache);
}

TEST_CASE("keys of different types are different keys") {
  Cache cache;
  CHECK(cache.Merge(Entry::Make(1, "key", "one"sv, {1, 1}), kNow) == MergeResult::kAdded);
  CHECK(cache.Merge(Entry::Make(-1, "key", "minus"sv, {1, 1}), kNow) == MergeResult::kAdded);
  CHECK(cache.Find(1, "key", kNow)->value() == "one");
  CHECK(cache.Find(-1, "key", kNow)->value() == "minus");
  CHECK_FALSE(cache.Find(0, "key", kNow));
  CHECK(cache.Types().size() == 2);
  CheckInvariants(cache);
}

TEST_CASE("a tombstone hides what is older and stays") {
  Cache cache;
  cache.Merge(Live(5), kNow);
  CHECK(cache.Merge(Dead(6), kNow) == MergeResult::kReplaced);
  CHECK_FALSE(cache.Find(1, "key", kNow));
  CHECK(cache.Peek(1, "key")->tombstone());
  CHECK(cache.Merge(Live(5), kNow) == MergeResult::kOlder);
  CHECK_FALSE(cache.Find(1, "key", kNow));
  CHECK(cache.Stats().tombstones == 1);
  CHECK(cache.Types().empty());
  CHECK(cache.Merge(Live(7), kNow) == MergeResult::kReplaced);
  CHECK(cache.Find(1, "key", kNow));
  CHECK(cache.Merge(Entry::MakeTombstone(1, "other", {1, 1}), kNow) == MergeResult::kAdded);
  CheckInvariants(cache);
}

TEST_CASE("an entry is served until the very millisecond of its expiry") {
  Cache cache;
  cache.Merge(Live(5, "value", kNow), kNow - 1);
  CHECK(cache.Find(1, "key", kNow - 1));
  CHECK_FALSE(cache.Find(1, "key", kNow));
  CHECK(cache.Peek(1, "key")->value() == "value");  // until swept

  CHECK(cache.Sweep(kNow - 1) == 0);
  CHECK(cache.Stats().entries == 1);
  const std::uint64_t digest = cache.digest();
  CHECK(cache.Sweep(kNow) == 1);
  CHECK(cache.Sweep(std::numeric_limits<WallMs>::max()) == 0);
  CHECK(cache.digest() == digest);
  const EntryRef swept = cache.Peek(1, "key");
  CHECK(swept->tombstone());
  CHECK(swept->version() == Version{5, 1});
  // An older value that never expires does not come back.
  CHECK(cache.Merge(Live(4), kNow) == MergeResult::kOlder);
  CheckInvariants(cache);
}

TEST_CASE("what arrives expired is merged as its tombstone") {
  Cache cache;
  cache.Merge(Live(4), kNow);
  CHECK(cache.Merge(Live(5, "value", kNow), kNow) == MergeResult::kReplaced);
  CHECK(cache.Peek(1, "key")->tombstone());
  CHECK(cache.Peek(1, "key")->version() == Version{5, 1});
  CheckInvariants(cache);
}

TEST_CASE("sweeps on one side only do not make a difference") {
  Cache ahead;
  Cache behind;
  ahead.Merge(Live(5, "value", kNow), kNow);
  behind.Merge(Live(5, "value", kNow), kNow - 1);
  CHECK(ahead.digest() == behind.digest());
  CHECK(ahead.Merge(behind.Peek(1, "key"), kNow - 1) == MergeResult::kSame);
  CHECK(ahead.Peek(1, "key")->tombstone());
  CHECK(behind.Merge(ahead.Peek(1, "key"), kNow - 1) == MergeResult::kSame);
  CHECK(behind.Find(1, "key", kNow - 1));
  CHECK(behind.Sweep(kNow) == 1);
  CHECK(Contents(ahead) == Contents(behind));
}

TEST_CASE("an expiry that was written over does not strike") {
  Cache cache;
  cache.Merge(Live(5, "short", kNow), kNow - 1);
  cache.Merge(Live(6, "long", kNow + 10), kNow - 1);
  CHECK(cache.Sweep(kNow) == 0);
  CHECK(cache.Find(1, "key", kNow)->value() == "long");
  CHECK(cache.Sweep(kNow + 10) == 1);
  cache.Merge(Live(7, "for ever"), kNow);
  CHECK(cache.Sweep(std::numeric_limits<WallMs>::max()) == 0);
  CHECK(cache.Find(1, "key", std::numeric_limits<WallMs>::max())->value() == "for ever");
}

TEST_CASE("purging forgets tombstones up to the floor and nothing else") {
  Cache cache;
  for (std::uint64_t hlc = 1; hlc <= 1000; ++hlc) {
    cache.Merge(Entry::Make(1, "live" + std::to_string(hlc), "v"sv, {hlc, 1}), kNow);
    cache.Merge(Entry::MakeTombstone(1, "dead" + std::to_string(hlc), {hlc, 1}), kNow);
  }
  CHECK(PurgeTo(cache, 400) == 400);
  CHECK(cache.purge_floor() == 400);
  CHECK_FALSE(cache.Peek(1, "dead400"));
  CHECK(cache.Peek(1, "dead401"));
  CHECK(cache.Stats().entries == 1000);
  CHECK(cache.Stats().tombstones == 600);
  CheckInvariants(cache);

  CHECK(PurgeTo(cache, 399) == 0);  // never back
  CHECK(cache.purge_floor() == 400);
  CHECK(PurgeTo(cache, 400) == 0);
  CHECK(PurgeTo(cache, std::numeric_limits<std::uint64_t>::max()) == 600);
  CHECK(cache.Stats().entries == 1000);
  CheckInvariants(cache);
}

TEST_CASE("tombstones are forgotten some at a time, and none is taken meanwhile") {
  Cache cache;
  for (std::uint64_t i = 1; i <= 1000; ++i) {
    cache.Merge(Entry::MakeTombstone(1, "k" + std::to_string(i), {i, 1}), kNow);
  }
  cache.RaiseFloor(900);
  CHECK(cache.Stats().tombstones == 1000);
  CHECK(cache.Merge(Entry::MakeTombstone(1, "late", {900, 1}), kNow) == MergeResult::kPurged);
  const std::uint64_t some = cache.Purge(100);
  CHECK(some >= 100);
  CHECK(some < 300);  // a shard holds a few
  std::uint64_t all = some;
  while (const std::uint64_t more = cache.Purge(100)) all += more;
  CHECK(all == 900);
  CHECK(cache.Purge() == 0);
  CheckInvariants(cache);
}

TEST_CASE("a tombstone at or below the floor kills what is older, but is not stored") {
  Cache cache;
  PurgeTo(cache, 10);
  CHECK(cache.Merge(Dead(10), kNow) == MergeResult::kPurged);
  CHECK_FALSE(cache.Peek(1, "key"));

  cache.Merge(Live(5), kNow);  // live entries may be as old as they like
  CHECK(cache.Merge(Dead(4), kNow) == MergeResult::kOlder);
  CHECK(cache.Merge(Dead(5), kNow) == MergeResult::kSame);
  CHECK(cache.Find(1, "key", kNow));
  CHECK(cache.Merge(Dead(6), kNow) == MergeResult::kPurged);
  CHECK_FALSE(cache.Peek(1, "key"));
  CHECK(cache.digest() == 0);
  CHECK(cache.memory_bytes() == 0);

  CHECK(cache.Merge(Dead(11), kNow) == MergeResult::kAdded);
  CHECK(cache.Merge(Dead(10), kNow) == MergeResult::kOlder);
  CheckInvariants(cache);
}

TEST_CASE("what expires at or below the floor is dropped at once") {
  Cache cache;
  cache.Merge(Live(5, "value", kNow), kNow - 1);
  cache.Merge(Entry::Make(1, "other", "value"sv, {11, 1}, kNow), kNow - 1);
  PurgeTo(cache, 10);
  CHECK(cache.Stats().entries == 2);
  CHECK(cache.Sweep(kNow) == 2);
  CHECK_FALSE(cache.Peek(1, "key"));
  CHECK(cache.Peek(1, "other")->tombstone());

  cache.Merge(Live(4), kNow);
  CHECK(cache.Merge(Live(5, "value", kNow), kNow) == MergeResult::kPurged);
  CHECK_FALSE(cache.Peek(1, "key"));
  CheckInvariants(cache);
}

TEST_CASE("counts by type") {
  Cache cache;
  cache.Merge(Entry::Make(7, "a", "123"sv, {1, 1}), kNow);
  cache.Merge(Entry::Make(7, "bb", "45"sv, {1, 1}), kNow);
  cache.Merge(Entry::Make(-7, "c", ""sv, {1, 1}), kNow);
  cache.Merge(Entry::Make(7, "a", "1"sv, {2, 1}), kNow);
  const auto types = cache.Types();
  REQUIRE(types.size() == 2);
  CHECK(types.at(7).entries == 2);
  CHECK(types.at(7).bytes == 6);
  CHECK(types.at(-7).entries == 1);
  CHECK(types.at(-7).bytes == 1);
  CHECK(cache.Stats().bytes == 7);
}

TEST_CASE("keys made to fall into one bucket are held as any others are") {
  std::vector<std::string> keys;
  for (std::uint64_t i = 0; keys.size() < 200; ++i) {
    std::string key = "k" + std::to_string(i);
    if (BucketOf(KeyHash(1, key)) == 7) keys.push_back(std::move(key));
  }
  Cache cache;
  std::uint64_t hlc = 0;
  for (int round = 0; round < 20; ++round) {
    for (const std::string& key : keys) {
      cache.Merge(Entry::Make(1, key, std::to_string(round), {++hlc, 1}), kNow);
    }
  }
  for (const std::string& key : keys) CHECK(cache.Find(1, key, kNow)->value() == "19");
  CheckInvariants(cache);
  for (const std::string& key : keys) {
    cache.Merge(Entry::MakeTombstone(1, key, {++hlc, 1}), kNow);
  }
  PurgeTo(cache, hlc);
  CHECK(cache.memory_bytes() == 0);
}

TEST_CASE("an entry costs at most 37 bytes beside key and value") {
  Cache cache;
  constexpr int kEntries = 100'000;
  const std::string value(100, 'v');
  for (int i = 0; i < kEntries; ++i) {
    std::string key = std::to_string(i);
    key.insert(0, 18 - key.size(), 'k');
    cache.Merge(Entry::Make(1, key, value, {2, 1}), kNow);
  }
  CHECK(cache.Stats().entries == kEntries);
  CHECK(cache.memory_bytes() <= kEntries * (118 + 37));
}

}  // namespace
}  // namespace podmirror
