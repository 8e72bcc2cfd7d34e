#include <catch2/catch.hpp>
#include <map>

#include "sync/answers.h"
#include "sync/repair_testing.h"

namespace podmirror::sync {
namespace {

// Fetches all from `from` on; returns how often each key came.
std::map<std::string, int> FetchAll(const Cache& cache, Position from,
                                    std::vector<Position>* stops) {
  std::map<std::string, int> seen;
  for (int chunks = 0;; ++chunks) {
    REQUIRE(chunks < 100'000);
    const FetchReply reply = AnswerFetch(cache, {from}, {});
    for (const EntryRef& entry : reply.entries) ++seen[std::string(entry->key())];
    if (reply.done) break;
    REQUIRE_FALSE(reply.next == from);
    from = reply.next;
    if (stops != nullptr) stops->push_back(from);
  }
  return seen;
}

TEST_CASE("a copy holds every entry once, tombstones too, in bounded chunks") {
  Cache cache;
  for (int i = 0; i < 30'000; ++i) {
    cache.Merge(Put("k" + std::to_string(i), 5, std::string(100, 'v')), kNow);
  }
  cache.Merge(Gone("gone", 6), kNow);
  std::vector<Position> stops;
  const auto seen = FetchAll(cache, {}, &stops);
  CHECK(seen.size() == 30'001);
  CHECK(std::all_of(seen.begin(), seen.end(), [](const auto& item) { return item.second == 1; }));
  const std::size_t chunks = 30'000 * 130 / kChunkBytes;
  CHECK(stops.size() >= chunks / 2);
  CHECK(stops.size() <= chunks * 2);
}

TEST_CASE("a copy goes on at another donor wherever it was broken off") {
  Cache first;
  Cache second;
  for (int i = 0; i < 12'000; ++i) {
    const EntryRef entry = Put("k" + std::to_string(i), 5, std::string(600, 'v'));
    first.Merge(entry, kNow);
    second.Merge(entry, kNow);
  }
  std::vector<Position> stops;
  const auto all = FetchAll(first, {}, &stops);
  REQUIRE(stops.size() >= 5);
  for (const Position& stop : stops) {
    // What came before the stop and what comes after it is all, and nothing twice.
    std::map<std::string, int> joined = FetchAll(second, stop, nullptr);
    Position at;
    while (!(at == stop)) {
      const FetchReply reply = AnswerFetch(first, {at}, {});
      for (const EntryRef& entry : reply.entries) ++joined[std::string(entry->key())];
      at = reply.next;
    }
    CHECK(joined == all);
  }
}

TEST_CASE("a large bucket is copied in chunks and can be resumed inside") {
  Cache cache;
  const std::vector<std::string> keys = KeysOfBucket(4242, 40);
  for (const std::string& key : keys) cache.Merge(Put(key, 5, std::string(300'000, 'v')), kNow);
  std::vector<Position> stops;
  const auto seen = FetchAll(cache, {}, &stops);
  CHECK(seen.size() == 40);
  CHECK(std::all_of(seen.begin(), seen.end(), [](const auto& item) { return item.second == 1; }));
  CHECK(std::any_of(stops.begin(), stops.end(), [](const Position& stop) {
    return stop.bucket == 4242 && stop.after_key_hash != 0;
  }));

  // Resuming inside the bucket misses none of the entries that were there from the start, although
  // others come and go.
  Position at;
  std::map<std::string, int> copied;
  int next_key = 0;
  for (FetchReply reply; !reply.done; at = reply.next) {
    reply = AnswerFetch(cache, {at}, {});
    for (const EntryRef& entry : reply.entries) ++copied[std::string(entry->key())];
    cache.Merge(Put("other" + std::to_string(next_key++), 5), kNow);
  }
  for (const std::string& key : keys) CHECK(copied[key] == 1);
}

TEST_CASE("an empty cache is copied in one chunk, and behind the end there is nothing") {
  const Cache cache;
  const FetchReply reply = AnswerFetch(cache, {}, {});
  CHECK(reply.done);
  CHECK(reply.entries.empty());
  CHECK(AnswerFetch(cache, {{kBuckets, 0}}, {}).done);
}

}  // namespace
}  // namespace podmirror::sync
