#include <algorithm>
#include <catch2/catch.hpp>
#include <limits>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "cache/cache.h"
#include "cache_testing.h"

namespace podmirror {
namespace {

constexpr WallMs kNow = 1'700'000'000'000;

// Random entries as daemons could have made them: no version twice, but every other kind of clash:
// few keys, equal hlcs of different origins, tombstones, expired and expiring entries.
std::vector<EntryRef> RandomEntries(std::mt19937_64& random, int count) {
  std::vector<EntryRef> entries;
  for (int i = 0; i < count; ++i) {
    const auto type = static_cast<std::int32_t>(random() % 3) - 1;
    const std::string key = "key" + std::to_string(random() % 40);
    const Version version{1 + random() % 50, static_cast<std::uint64_t>(i)};
    const std::string value = version.ToString();
    const WallMs expires_at = kNow - 20 + static_cast<WallMs>(random() % 40);
    switch (random() % 3) {
      case 0:
        entries.push_back(Entry::Make(type, key, value, version));
        break;
      case 1:
        entries.push_back(Entry::Make(type, key, value, version, expires_at));
        break;
      default:
        entries.push_back(Entry::MakeTombstone(type, key, version));
    }
  }
  return entries;
}

// What Merge promises, without a cache: the greatest version of each key, expired ones as their
// tombstone.
std::map<Key, std::string> Expected(const std::vector<EntryRef>& entries, WallMs now) {
  std::map<Key, EntryRef> newest;
  for (const EntryRef& entry : entries) {
    EntryRef& best = newest[KeyOf(*entry)];
    if (!best || best->version() < entry->version()) best = entry;
  }
  std::map<Key, std::string> expected;
  for (const auto& [key, entry] : newest) {
    expected[key] = entry->expired(now)
                        ? Entry::MakeTombstone(key.first, key.second, entry->version())->Packed()
                        : entry->Packed();
  }
  return expected;
}

void MergeAll(Cache& into, const Cache& from) {
  for (std::uint32_t bucket = 0; bucket < kBuckets; ++bucket) {
    for (const EntryRef& entry : from.Bucket(bucket)) into.Merge(entry, kNow);
  }
}

TEST_CASE("merging is commutative and idempotent") {
  const std::uint64_t seed = GENERATE(range(1, 11));
  INFO("seed " << seed);
  std::mt19937_64 random(seed);
  std::vector<EntryRef> entries = RandomEntries(random, 300);
  const auto expected = Expected(entries, kNow);
  for (int i = 0; i < 300; ++i) entries.push_back(entries[random() % entries.size()]);
  std::shuffle(entries.begin(), entries.end(), random);
  Cache cache;
  for (const EntryRef& entry : entries) cache.Merge(entry, kNow);
  CHECK(Contents(cache) == expected);
  CheckInvariants(cache);
}

TEST_CASE("merging is associative") {
  const std::uint64_t seed = GENERATE(range(1, 11));
  INFO("seed " << seed);
  std::mt19937_64 random(seed);
  const std::vector<EntryRef> entries = RandomEntries(random, 300);
  Cache a;
  Cache b;
  Cache c;
  Cache* const caches[] = {&a, &b, &c};
  for (const EntryRef& entry : entries) caches[random() % 3]->Merge(entry, kNow);
  Cache left;  // (a b) c
  MergeAll(left, a);
  MergeAll(left, b);
  MergeAll(left, c);
  MergeAll(b, c);  // a (b c)
  MergeAll(a, b);
  CHECK(Contents(left) == Expected(entries, kNow));
  CHECK(Contents(a) == Contents(left));
  CHECK(a.digest() == left.digest());
  CHECK(a.group_sums() == left.group_sums());
}

TEST_CASE("the result of a merge tells what happened") {
  const std::uint64_t seed = GENERATE(range(1, 6));
  INFO("seed " << seed);
  std::mt19937_64 random(seed);
  Cache cache;
  for (const EntryRef& entry : RandomEntries(random, 500)) {
    const EntryRef before = cache.Peek(entry->type(), entry->key());
    const std::uint64_t digest = cache.digest();
    const MergeResult result = cache.Merge(entry, kNow);
    const EntryRef after = cache.Peek(entry->type(), entry->key());
    const bool newer = !before || before->version() < entry->version();
    CHECK(Changed(result) == newer);
    CHECK((result == MergeResult::kAdded) == !before);
    CHECK(after->version() == (newer ? entry->version() : before->version()));
    CHECK((cache.digest() != digest) == newer);
  }
}

TEST_CASE("digests do not depend on order, clocks or sweeps") {
  const std::uint64_t seed = GENERATE(range(1, 11));
  INFO("seed " << seed);
  std::mt19937_64 random(seed);
  std::vector<EntryRef> entries = RandomEntries(random, 300);
  Cache swept_often;
  for (const EntryRef& entry : entries) {
    const WallMs now = kNow - 25 + static_cast<WallMs>(random() % 50);  // a clock that jumps
    swept_often.Merge(entry, now);
    if (random() % 10 == 0) swept_often.Sweep(now);
  }
  std::shuffle(entries.begin(), entries.end(), random);
  Cache never_swept;
  for (const EntryRef& entry : entries) never_swept.Merge(entry, 0);
  CHECK(swept_often.digest() == never_swept.digest());
  CHECK(swept_often.group_sums() == never_swept.group_sums());
  CheckInvariants(swept_often);
  CheckInvariants(never_swept);

  const WallMs end = std::numeric_limits<WallMs>::max();
  swept_often.Sweep(end);
  never_swept.Sweep(end);
  CHECK(Contents(swept_often) == Contents(never_swept));
  CHECK(swept_often.digest() == never_swept.digest());
}

TEST_CASE("a sweep finds exactly what is due") {
  const std::uint64_t seed = GENERATE(range(1, 6));
  INFO("seed " << seed);
  std::mt19937_64 random(seed);
  Cache cache;
  std::map<std::string, WallMs> expiry;  // 0 = never
  std::uint64_t hlc = 0;
  for (WallMs now = kNow; now < kNow + 200; ++now) {
    for (int i = 0; i < 20; ++i) {
      const std::string key = std::to_string(random() % 500);
      const WallMs expires_at =
          random() % 3 == 0 ? 0 : now + 1 + static_cast<WallMs>(random() % 50);
      cache.Merge(Entry::Make(1, key, "v", {++hlc, 1}, expires_at), now);
      expiry[key] = expires_at;
    }
    const auto due = [&](const auto& item) { return item.second != 0 && item.second <= now; };
    REQUIRE(cache.Sweep(now) == std::erase_if(expiry, due));
    REQUIRE(cache.Stats().entries == expiry.size());
  }
  CheckInvariants(cache);
}

TEST_CASE("everything stays exact through random operations") {
  const std::uint64_t seed = GENERATE(range(1, 6));
  INFO("seed " << seed);
  std::mt19937_64 random(seed);
  Cache cache;
  for (int round = 0; round < 10; ++round) {
    for (const EntryRef& entry : RandomEntries(random, 200)) {
      const std::uint64_t digest = cache.digest();
      const MergeResult result = cache.Merge(entry, kNow - 30 + random() % 60);
      if (result == MergeResult::kSame || result == MergeResult::kOlder) {
        CHECK(cache.digest() == digest);
      }
    }
    if (random() % 2 == 0) cache.Sweep(kNow - 30 + random() % 60);
    if (random() % 2 == 0) PurgeTo(cache, random() % 60);
    if (random() % 8 == 0) {
      for (const EntryRef& entry : RandomEntries(random, 50)) {
        const std::uint64_t hash = entry->key_hash();
        cache.Drop({&hash, 1}, random() % 60, kNow);
      }
    }
    CheckInvariants(cache);
  }
}

TEST_CASE("what is merged warm is merged all the same") {
  const std::uint64_t seed = GENERATE(range(1, 6));
  INFO("seed " << seed);
  std::mt19937_64 random(seed);
  Cache warm, other;
  for (int round = 0; round < 10; ++round) {
    const std::vector<EntryRef> entries = RandomEntries(random, static_cast<int>(random() % 50));
    warm.MergeWarm(entries, warm.Warm(entries), kNow);
    other.MergeAll(entries, kNow);
  }
  CHECK(Contents(warm) == Contents(other));
  CHECK(warm.digest() == other.digest());
  CheckInvariants(warm);
}

TEST_CASE("caches that merged the same and purged to the same floor are equal") {
  const std::uint64_t seed = GENERATE(range(1, 11));
  INFO("seed " << seed);
  std::mt19937_64 random(seed);
  std::vector<EntryRef> entries = RandomEntries(random, 300);
  // Below the floor the order counts, so each key comes oldest first.
  std::stable_sort(entries.begin(), entries.end(), [](const EntryRef& a, const EntryRef& b) {
    return a->version() < b->version();
  });
  Cache purged_early;
  Cache purged_late;
  for (const EntryRef& entry : entries) {
    purged_early.Merge(entry, kNow);
    purged_late.Merge(entry, kNow);
    if (random() % 10 == 0) PurgeTo(purged_early, random() % 30);
  }
  PurgeTo(purged_early, 30);
  PurgeTo(purged_late, 30);
  CHECK(Contents(purged_early) == Contents(purged_late));
  CHECK(purged_early.digest() == purged_late.digest());
  CheckInvariants(purged_early);
}

}  // namespace
}  // namespace podmirror
