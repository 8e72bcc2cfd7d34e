// Random pairs of caches, and what a pass promises of them (see sync/pass.h).
#include <array>
#include <catch2/catch.hpp>
#include <map>
#include <optional>
#include <random>

#include "sync/repair_testing.h"

namespace podmirror::sync {
namespace {

constexpr std::uint64_t kHighestFloor = 50;
constexpr int kKeys = 300;

// No two entries have the same version. Expiring entries are newer than any floor: a cache that
// lacks one for so long would be stale.
EntryRef SomeEntry(std::mt19937_64& random, const Key& key, std::uint64_t hlc) {
  const Version version{hlc, random()};
  const std::string value(random() % 50 == 0 ? 400'000 : random() % 100, 'v');
  if (random() % 3 == 0) return Entry::MakeTombstone(key.first, key.second, version);
  WallMs expires_at = 0;
  if (hlc > kHighestFloor && random() % 3 == 0)
    expires_at = kNow - 5 + static_cast<WallMs>(random() % 10);
  return Entry::Make(key.first, key.second, value, version, expires_at);
}

// Two caches with a past: much is the same, some was seen by one only, each forgot tombstones up to
// its own floor, and one has swept later than the other.
struct Pair {
  explicit Pair(unsigned seed) : random(seed) {
    keys = CraftedKeys(77, kKeys / 3);
    for (int i = kKeys / 3; i < kKeys; ++i) keys.emplace_back(i % 2, "k" + std::to_string(i));
    for (const Key& key : keys) {
      for (std::uint64_t n = random() % 3; n-- > 0;) {
        const EntryRef entry = SomeEntry(random, key, 1 + random() % 100);
        const std::uint64_t where = random() % 5;
        // Merged before it expired.
        if (where != 0) caches[0].Merge(entry, kNow - 100);
        if (where != 1) caches[1].Merge(entry, kNow - 100);
      }
    }
    for (Cache& cache : caches) {
      if (random() % 4 != 0) PurgeTo(cache, random() % (kHighestFloor + 1));
      if (random() % 2 == 0) cache.Sweep(kNow);
    }
  }

  EntryRef At(std::size_t side, const Key& key) const {
    return caches[side].Peek(key.first, key.second);
  }

  std::mt19937_64 random;
  std::vector<Key> keys;
  std::array<Cache, 2> caches;
};

// The newer of both; null when both are.
EntryRef Newest(const EntryRef& a, const EntryRef& b) {
  if (!a || !b) return a ? a : b;
  return a->version() < b->version() ? b : a;
}

// Whether a cache may hold nothing of a key whose newest version this is: deleted or expired, or
// dead, for one side lacked it.
bool MayBeForgotten(const Pair& pair, const EntryRef& newest) {
  const std::uint64_t floor = std::max(pair.caches[0].purge_floor(), pair.caches[1].purge_floor());
  return !newest || newest->version().hlc <= floor;
}

// After a pass without writes, each side holds the newest, or nothing where it has forgotten that;
// and nothing is left to send. Returns the number of keys that are not so.
int CountWrong(const Pair& pair, const std::map<Key, EntryRef>& newest) {
  int wrong = 0;
  for (const Key& key : pair.keys) {
    const EntryRef& due = newest.at(key);
    for (std::size_t side = 0; side < 2; ++side) {
      const EntryRef held = pair.At(side, key);
      if (MayBeForgotten(pair, due)) {
        wrong += held && held->version() != due->version();
      } else {
        wrong += !held || held->version() != due->version();
      }
    }
  }
  return wrong;
}

std::map<Key, EntryRef> NewestOf(const Pair& pair) {
  std::map<Key, EntryRef> newest;
  for (const Key& key : pair.keys) newest[key] = Newest(pair.At(0, key), pair.At(1, key));
  return newest;
}

// After a pass each way the digests differ in nothing but tombstones that one side has purged.
void CheckEqualButForFloors(Pair& pair) {
  Cache& a = pair.caches[0];
  Cache& b = pair.caches[1];
  for (Cache& cache : pair.caches) cache.Sweep(kNow);
  for (const Traffic& again : {RunPass(a, b), RunPass(b, a)}) {
    CHECK(again.to_asker + again.to_answerer == 0);
  }
  const std::uint64_t floor = std::max(a.purge_floor(), b.purge_floor());
  for (Cache& cache : pair.caches) PurgeTo(cache, floor);
  CHECK(a.digest() == b.digest());
  CHECK((Contents(a) == Contents(b)));
  for (const Cache& cache : pair.caches) CheckInvariants(cache);
}

TEST_CASE("after a pass both sides hold the newest of each key") {
  const auto seed = GENERATE(range(0u, 60u));
  CAPTURE(seed);
  Pair pair(seed);
  const std::map<Key, EntryRef> newest = NewestOf(pair);
  Weather weather;
  // The answerer may have heard of a lower floor than the true one.
  if (seed % 3 == 0) weather.asker_floor = 0;
  weather.fragments = seed % 2 == 0;
  RunPass(pair.caches[0], pair.caches[1], weather);
  CHECK(CountWrong(pair, newest) == 0);
  CheckEqualButForFloors(pair);
}

TEST_CASE("late, doubled and older replies change nothing") {
  const auto seed = GENERATE(range(100u, 130u));
  CAPTURE(seed);
  Pair pair(seed);
  const std::map<Key, EntryRef> newest = NewestOf(pair);
  std::vector<Message> old;
  Cache& asker = pair.caches[0];
  Weather weather;
  weather.fragments = seed % 2 == 0;
  weather.replied = [&](const Message& reply) { old.push_back(reply); };
  weather.disturb = [&](Pass& pass) {
    if (old.empty()) return;
    Deliver(pass, old.back(), asker);  // the last one twice
    Deliver(pass, old[pair.random() % old.size()], asker);
  };
  // What an older pass asked is answered in the present one.
  Cache other;
  Weather earlier;
  earlier.replied = weather.replied;
  RunPass(other, pair.caches[1], earlier, 1);
  RunPass(asker, pair.caches[1], weather, 2);
  CHECK(CountWrong(pair, newest) == 0);
  CheckEqualButForFloors(pair);
}

// What others do meanwhile: their writes reach one side or both, a copy or another pass carries
// what one side holds to the other, expired entries are swept.
void Meanwhile(Pair& pair, std::uint64_t* hlc) {
  for (std::uint64_t n = pair.random() % 4; n-- > 0;) {
    const Key& key = pair.keys[pair.random() % pair.keys.size()];
    const std::uint64_t side = pair.random() % 2;
    Cache& cache = pair.caches[side];
    switch (pair.random() % 4) {
      case 0:
      case 1: {
        const EntryRef entry = SomeEntry(pair.random, key, ++*hlc);
        cache.Merge(entry, kNow);
        if (pair.random() % 2 == 0) pair.caches[1 - side].Merge(entry, kNow);
        break;
      }
      case 2:
        if (const EntryRef entry = cache.Peek(key.first, key.second)) {
          pair.caches[1 - side].Merge(entry, kNow);
        }
        break;
      case 3:
        cache.Sweep(kNow);
        break;
    }
  }
}

TEST_CASE("under writes a pass brings to both sides at least what either held when it began") {
  const auto seed = GENERATE(range(200u, 260u));
  CAPTURE(seed);
  Pair pair(seed);
  const std::map<Key, EntryRef> begun = NewestOf(pair);
  std::uint64_t hlc = 1000;
  Weather weather;
  weather.between = [&] { Meanwhile(pair, &hlc); };
  weather.fragments = seed % 2 == 0;
  RunPass(pair.caches[0], pair.caches[1], weather);
  int wrong = 0;
  for (const Key& key : pair.keys) {
    const EntryRef& due = begun.at(key);
    if (!due) continue;
    for (std::size_t side = 0; side < 2; ++side) {
      const EntryRef held = pair.At(side, key);
      if (held) {
        wrong += held->version() < due->version();
      } else {
        wrong += !MayBeForgotten(pair, due);
      }
    }
  }
  CHECK(wrong == 0);

  const std::map<Key, EntryRef> newest = NewestOf(pair);
  RunPass(pair.caches[1], pair.caches[0]);
  CHECK(CountWrong(pair, newest) == 0);
  CheckEqualButForFloors(pair);
}

}  // namespace
}  // namespace podmirror::sync
