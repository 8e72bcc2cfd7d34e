#include "sync/repair.h"

#include <catch2/catch.hpp>
#include <map>
#include <random>

namespace podmirror::sync {
namespace {

constexpr WallMs kNow = 1'700'000'000'000;

struct Traffic {
  std::uint64_t requests = 0;
  std::uint64_t listed = 0;
  std::uint64_t to_asker = 0;     // entries
  std::uint64_t to_answerer = 0;  // entries
  std::uint64_t mores = 0;
  std::size_t largest = 0;  // bytes of entries in one message
};

std::size_t BytesOf(const std::vector<EntryRef>& entries) {
  std::size_t bytes = 0;
  for (const EntryRef& entry : entries) bytes += entry->packed().size();
  return bytes;
}

// One whole pass: what the streams do, without them.
Traffic RunPass(Cache& asker, Cache& answerer) {
  Traffic traffic;
  Pass pass(1, 0, 0);
  while (std::optional<Message> request = pass.Next(asker)) {
    REQUIRE_FALSE(pass.HasNext());
    REQUIRE(++traffic.requests < 10'000);
    if (const auto* sums = std::get_if<SumsRequest>(&*request)) {
      pass.OnSums(AnswerSums(answerer, *sums), asker);
    } else if (const auto* offer = std::get_if<Offer>(&*request)) {
      traffic.listed += offer->listed.size();
      const OfferReply reply = AnswerOffer(answerer, *offer, asker.purge_floor());
      REQUIRE(reply.wants.size() <= kMaxListed);
      traffic.to_asker += reply.entries.size();
      traffic.mores += reply.more ? 1 : 0;
      traffic.largest = std::max(traffic.largest, BytesOf(reply.entries));
      for (const EntryRef& entry : reply.entries) asker.Merge(entry, kNow);
      pass.OnOfferReply(reply);
    } else {
      const auto& push = std::get<Push>(*request);
      traffic.to_answerer += push.entries.size();
      traffic.largest = std::max(traffic.largest, BytesOf(push.entries));
      for (const EntryRef& entry : push.entries) answerer.Merge(entry, kNow);
      pass.OnPushReply({push.pass});
    }
  }
  CHECK(pass.done());
  CHECK(pass.received() == traffic.to_asker);
  CHECK(pass.sent() == traffic.to_answerer);
  return traffic;
}

EntryRef Put(const std::string& key, std::uint64_t hlc, const std::string& value = "v") {
  return Entry::Make(1, key, value, {hlc, 1});
}
EntryRef Gone(const std::string& key, std::uint64_t hlc) {
  return Entry::MakeTombstone(1, key, {hlc, 1});
}

std::map<std::string, std::string> Contents(const Cache& cache) {
  std::map<std::string, std::string> contents;
  for (std::uint32_t bucket = 0; bucket < kBuckets; ++bucket) {
    for (const EntryRef& entry : cache.Bucket(bucket)) {
      contents.emplace(entry->key(), entry->packed());
    }
  }
  return contents;
}

// Keys whose hashes share one bucket, found by trying.
std::vector<std::string> KeysOfBucket(std::uint32_t bucket, std::size_t count) {
  std::vector<std::string> keys;
  for (std::uint64_t i = 0; keys.size() < count; ++i) {
    std::string key = "k" + std::to_string(i);
    if (BucketOf(KeyHash(1, key)) == bucket) keys.push_back(std::move(key));
  }
  return keys;
}

TEST_CASE("equal caches need one request and exchange nothing") {
  Cache a;
  Cache b;
  for (int i = 0; i < 1000; ++i) {
    a.Merge(Put("k" + std::to_string(i), 5), kNow);
    b.Merge(Put("k" + std::to_string(i), 5), kNow);
  }
  const Traffic traffic = RunPass(a, b);
  CHECK(traffic.requests == 1);
  CHECK(traffic.listed + traffic.to_asker + traffic.to_answerer == 0);
}

TEST_CASE("random differences: one pass makes both caches equal") {
  const auto seed = GENERATE(range(1u, 9u));
  CAPTURE(seed);
  std::mt19937_64 random(seed);
  Cache a;
  Cache b;
  const std::size_t keys = 1 + random() % 3000;
  for (std::size_t i = 0; i < keys; ++i) {
    const std::string key = "k" + std::to_string(i);
    const std::uint64_t hlc = 10 + random() % 5;
    const auto make = [&](std::uint64_t at) {
      return at % 4 == 0 ? Gone(key, at) : Put(key, at, std::string(random() % 2000, 'v'));
    };
    const EntryRef same = make(hlc);
    const std::uint64_t where = random() % 6;
    if (where != 0) a.Merge(same, kNow);
    if (where != 1) b.Merge(same, kNow);
    if (where == 2) a.Merge(make(hlc + 1), kNow);
    if (where == 3) b.Merge(make(hlc + 1), kNow);
  }
  RunPass(a, b);
  CHECK(a.digest() == b.digest());
  CHECK(Contents(a) == Contents(b));
  CHECK(RunPass(b, a).requests == 1);
}

TEST_CASE("only what differs travels, whatever the size of the cache") {
  Cache a;
  Cache b;
  for (int i = 0; i < 100'000; ++i) {
    const EntryRef entry = Put("k" + std::to_string(i), 5);
    a.Merge(entry, kNow);
    b.Merge(entry, kNow);
  }
  a.Merge(Put("k17", 6, "newer at the asker"), kNow);
  b.Merge(Put("k4711", 6, "newer at the answerer"), kNow);
  b.Merge(Gone("k99", 6), kNow);
  a.Merge(Put("only at the asker", 5), kNow);
  const Traffic traffic = RunPass(a, b);
  CHECK(traffic.to_asker == 2);
  CHECK(traffic.to_answerer == 2);
  CHECK(traffic.listed < 50);  // four buckets of one or two entries each
  CHECK(traffic.requests <= 6);
  CHECK(a.digest() == b.digest());
}

TEST_CASE("an empty cache is filled, and an empty peer") {
  Cache full;
  Cache empty;
  for (int i = 0; i < 20'000; ++i) full.Merge(Put("k" + std::to_string(i), 5), kNow);
  SECTION("asking") { CHECK(RunPass(empty, full).to_asker == 20'000); }
  SECTION("asked") { CHECK(RunPass(full, empty).to_answerer == 20'000); }
  CHECK(full.digest() == empty.digest());
}

TEST_CASE("huge values come in bounded messages") {
  Cache full;
  Cache empty;
  const std::vector<std::string> keys = KeysOfBucket(77, 5);
  for (const std::string& key : keys) full.Merge(Put(key, 5, std::string(700'000, 'x')), kNow);
  SECTION("to the asker: the same bucket is offered again") {
    const Traffic traffic = RunPass(empty, full);
    CHECK(traffic.to_asker == 5);
    CHECK(traffic.mores == 2);
    CHECK(traffic.largest < 2 * kChunkBytes);
  }
  SECTION("to the answerer: push after push") {
    const Traffic traffic = RunPass(full, empty);
    CHECK(traffic.to_answerer == 5);
    CHECK(traffic.largest < 2 * kChunkBytes);
  }
  CHECK(full.digest() == empty.digest());
}

TEST_CASE("a tombstone that the asker has purged is not sent again") {
  Cache a;
  Cache b;
  b.Merge(Gone("old", 5), kNow);
  b.Merge(Gone("new", 50), kNow);
  a.Purge(10);
  const Traffic traffic = RunPass(a, b);
  CHECK(traffic.to_asker == 1);
  CHECK(a.Peek(1, "new"));
  CHECK_FALSE(a.Peek(1, "old"));
}

TEST_CASE("a tombstone at or below the floor still kills an older entry") {
  Cache a;
  Cache b;
  a.Merge(Put("k", 4), kNow);
  b.Merge(Gone("k", 5), kNow);
  SECTION("of the asker") { a.Purge(10); }
  SECTION("of nobody") {}
  CHECK(RunPass(a, b).to_asker == 1);
  CHECK_FALSE(a.Find(1, "k", kNow));
}

TEST_CASE("an entry expired on one side and swept on the other does not differ") {
  Cache a;
  Cache b;
  const EntryRef entry = Entry::Make(1, "k", "v", {5, 1}, kNow + 10);
  a.Merge(entry, kNow);
  b.Merge(entry, kNow);
  CHECK(b.Sweep(kNow + 20) == 1);
  CHECK(RunPass(a, b).requests == 1);
}

TEST_CASE("replies out of turn or of another pass change nothing") {
  Cache a;
  Cache b;
  b.Merge(Put("k", 5), kNow);
  Pass pass(7, 0, 0);
  pass.OnSums(AnswerSums(b, {7, {}}), a);  // not asked yet
  CHECK(pass.HasNext());
  const std::optional<Message> request = pass.Next(a);
  REQUIRE(request);
  pass.OnSums(AnswerSums(b, {6, {}}), a);
  pass.OnSums(Sums{7, {}, {1, 2, 3}}, a);
  pass.OnSums(AnswerSums(b, {7, {0}}), a);
  pass.OnOfferReply({7, {}, {}, false});
  pass.OnPushReply({7});
  CHECK_FALSE(pass.HasNext());
  CHECK_FALSE(pass.done());
  pass.OnSums(AnswerSums(b, {7, {}}), a);
  CHECK(pass.HasNext());
}

// --- the copy ---

// Fetches all from `from` on; returns how often each key came.
std::map<std::string, int> FetchAll(const Cache& cache, Position from,
                                    std::vector<Position>* stops) {
  std::map<std::string, int> seen;
  for (int chunks = 0;; ++chunks) {
    REQUIRE(chunks < 100'000);
    const FetchReply reply = AnswerFetch(cache, {from});
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
  CHECK(stops.size() >= 3);
  CHECK(stops.size() <= 6);
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
      const FetchReply reply = AnswerFetch(first, {at});
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
    reply = AnswerFetch(cache, {at});
    for (const EntryRef& entry : reply.entries) ++copied[std::string(entry->key())];
    cache.Merge(Put("other" + std::to_string(next_key++), 5), kNow);
  }
  for (const std::string& key : keys) CHECK(copied[key] == 1);
}

TEST_CASE("an empty cache is copied in one chunk, and behind the end there is nothing") {
  const Cache cache;
  const FetchReply reply = AnswerFetch(cache, {});
  CHECK(reply.done);
  CHECK(reply.entries.empty());
  CHECK(AnswerFetch(cache, {{kBuckets, 0}}).done);
}

TEST_CASE("the end of a copy carries what the joiner takes over") {
  Cache cache;
  Question question;
  question.request = Fetch{};
  question.purge_floor = 42;
  question.contacts = {{"uid-9", 41}};
  const auto reply = std::get<FetchReply>(Answer(cache, question));
  CHECK(reply.done);
  CHECK(reply.purge_floor == 42);
  REQUIRE(reply.contacts.size() == 1);
  CHECK(reply.contacts[0].uid == "uid-9");
}

}  // namespace
}  // namespace podmirror::sync
