#include <catch2/catch.hpp>
#include <map>
#include <random>

#include "sync/pass.h"
#include "sync/repair_testing.h"

namespace podmirror::sync {
namespace {

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
  CHECK((Contents(a) == Contents(b)));
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
  SECTION("to the asker: the rest is offered again") {
    const Traffic traffic = RunPass(empty, full);
    CHECK(traffic.to_asker == 5);
    CHECK(traffic.parts == 2);
    CHECK(traffic.listed == 0);
    CHECK(traffic.largest < 2 * kOldChunkBytes);
  }
  SECTION("to the answerer: push after push") {
    const Traffic traffic = RunPass(full, empty);
    CHECK(traffic.to_answerer == 5);
    CHECK(traffic.largest < 2 * kOldChunkBytes);
  }
  CHECK(full.digest() == empty.digest());
}

TEST_CASE("a tombstone that the asker has purged is not sent again") {
  Cache a;
  Cache b;
  b.Merge(Gone("old", 5), kNow);
  b.Merge(Gone("new", 50), kNow);
  PurgeTo(a, 10);
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
  SECTION("of the asker") { PurgeTo(a, 10); }
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

TEST_CASE("a tombstone between the floors of both does not travel in every pass") {
  Cache a;
  Cache b;
  const bool asking = GENERATE(true, false);
  CAPTURE(asking);
  Cache& purged = asking ? a : b;
  Cache& holds = asking ? b : a;
  holds.Merge(Gone("k", 5), kNow);
  holds.Merge(Gone("newer", 50), kNow);
  PurgeTo(purged, 10);
  const Traffic first = RunPass(a, b);
  CHECK(first.to_asker + first.to_answerer == 1);
  CHECK(purged.Peek(1, "newer"));
  const Traffic again = RunPass(a, b);
  CHECK(again.to_asker + again.to_answerer == 0);
  CHECK(a.digest() != b.digest());

  // It is still sent where there is something to kill.
  purged.Merge(Put("k", 4), kNow);
  RunPass(a, b);
  CHECK_FALSE(purged.Peek(1, "k"));
  CHECK(PurgeTo(holds, 10) == 1);
  CHECK(a.digest() == b.digest());
}

TEST_CASE("what one has and the other has long forgotten is dead") {
  Cache a;
  Cache b;
  const bool asking = GENERATE(true, false);
  CAPTURE(asking);
  Cache& away = asking ? a : b;
  Cache& stayed = asking ? b : a;
  away.Merge(Put("deleted", 5), kNow);
  away.Merge(Put("since", 50), kNow);
  for (Cache* cache : {&a, &b}) cache->Merge(Put("old", 4), kNow);
  PurgeTo(stayed, 10);
  const Traffic traffic = RunPass(a, b);
  CHECK(traffic.to_asker + traffic.to_answerer == 1);
  CHECK_FALSE(stayed.Peek(1, "deleted"));
  for (const Cache* cache : {&a, &b}) {
    CHECK(cache->Peek(1, "since"));
    CHECK(cache->Peek(1, "old"));
  }
  // Only the asker is told.
  if (!asking) {
    CHECK(away.Peek(1, "deleted"));
    RunPass(b, a);
  }
  CHECK_FALSE(away.Peek(1, "deleted"));
  CHECK(a.digest() == b.digest());
}

TEST_CASE("what was written anew after it was offered is not dead") {
  Cache away;
  Cache stayed;
  away.Merge(Put("deleted", 5), kNow);
  PurgeTo(stayed, 10);
  bool offered = false;
  Weather weather;
  weather.carry = [&](Message message) {
    offered = offered || std::holds_alternative<Offer>(message);
    return message;
  };
  weather.disturb = [&](Pass&) {
    if (offered) away.Merge(Put("deleted", 50), kNow);
  };
  RunPass(away, stayed, weather);
  CHECK(offered);
  CHECK(away.Peek(1, "deleted"));
}

TEST_CASE("a bucket of more entries than a listing may hold is repaired in parts") {
  Cache a;
  Cache b;
  const std::vector<Key> keys = CraftedKeys(4711, kMaxListed + 3000);
  for (std::size_t i = 0; i < keys.size(); ++i) {
    const EntryRef entry = Entry::Make(keys[i].first, keys[i].second, "v", {5, 1});
    REQUIRE(BucketOf(entry->key_hash()) == 4711);
    if (i % 100 != 1) a.Merge(entry, kNow);
    if (i % 100 != 2) b.Merge(entry, kNow);
  }
  const Traffic traffic = RunPass(a, b);
  CHECK(traffic.to_asker == 194);
  CHECK(traffic.to_answerer == 194);
  CHECK(traffic.most_listed <= kMaxListed);
  CHECK(a.digest() == b.digest());
}

TEST_CASE("keys with the same hash are all repaired") {
  Cache a;
  Cache b;
  const auto [first, second] = CollidingKeys();
  REQUIRE(KeyHash(first.first, first.second) == KeyHash(second.first, second.second));
  const auto put = [](const Key& key, std::uint64_t hlc) {
    return Entry::Make(key.first, key.second, "v", {hlc, 1});
  };
  const auto a_first = GENERATE(0u, 5u);
  const auto a_second = GENERATE(0u, 6u, 7u);
  const auto b_first = GENERATE(0u, 5u, 8u);
  const auto b_second = GENERATE(0u, 6u);
  CAPTURE(a_first, a_second, b_first, b_second);
  if (a_first != 0) a.Merge(put(first, a_first), kNow);
  if (a_second != 0) a.Merge(put(second, a_second), kNow);
  if (b_first != 0) b.Merge(put(first, b_first), kNow);
  if (b_second != 0) b.Merge(put(second, b_second), kNow);
  RunPass(a, b);
  RunPass(a, b);  // one key here and the other there looks like one key at first
  CHECK(a.digest() == b.digest());
  CHECK((Contents(a) == Contents(b)));
  CHECK(RunPass(a, b).requests == 1);
}

TEST_CASE("an answer goes only into what was offered") {
  Cache cache;
  const std::vector<std::string> keys = KeysOfBucket(9, 3);
  for (const std::string& key : keys) cache.Merge(Put(key, 5), kNow);
  const std::vector<Keyed> keyed = KeyedBucket(cache, 9);
  Offer offer;
  CHECK(AnswerOffer(cache, offer, {}).entries.empty());
  offer.listed = {{keyed[0].key_hash, {9, 9}}};
  CHECK(AnswerOffer(cache, offer, {}).wants.empty());
  offer.buckets = {8, 9, 10};
  offer.first = offer.last = keyed[1].key_hash;
  const OfferReply reply = AnswerOffer(cache, offer, {});
  REQUIRE(reply.entries.size() == 1);
  CHECK(reply.entries[0]->key() == keyed[1].entry->key());
  CHECK(reply.wants.empty());
}

// --- what a pass takes from the other side ---

TEST_CASE("replies out of turn or of another pass change nothing") {
  Cache a;
  Cache b;
  b.Merge(Put("k", 5), kNow);
  Pass pass(PassStart{7});
  pass.OnSums(AnswerSums(b, {7, {}}), a);  // not asked yet
  CHECK(pass.HasNext());
  const std::optional<Message> request = pass.Next(a);
  REQUIRE(request);
  const std::uint64_t id = std::get<SumsRequest>(*request).pass;
  pass.OnSums(AnswerSums(b, {id - 1, {}}), a);
  pass.OnSums(Sums{id, {}, {1, 2, 3}}, a);
  pass.OnSums(AnswerSums(b, {id, {0}}), a);
  pass.OnOfferReply({id, {}, {}, 0, {}, 0, {}}, a, kNow);
  pass.OnPushReply({id});
  CHECK_FALSE(pass.HasNext());
  CHECK_FALSE(pass.done());
  pass.OnSums(AnswerSums(b, {id, {}}), a);
  CHECK(pass.HasNext());
}

// A pass that has offered the first two of these keys, which share a bucket with the third.
struct Offered {
  Offered() {
    cache.Merge(Put(keys[0], 5), kNow);
    cache.Merge(Put(keys[1], 5), kNow);
    Cache other;
    other.Merge(Put(keys[2], 5), kNow);
    pass.OnSums(AnswerSums(other, std::get<SumsRequest>(*pass.Next(cache))), cache);
    pass.OnSums(AnswerSums(other, std::get<SumsRequest>(*pass.Next(cache))), cache);
    reply.pass = std::get<Offer>(*pass.Next(cache)).pass;
  }

  const std::vector<std::string> keys = KeysOfBucket(9, 3);
  Cache cache;
  Pass pass{PassStart{1, kNow, 0, 0, 0, true}};
  OfferReply reply;
};

TEST_CASE("an answerer that cannot be right ends the pass") {
  Offered offered;
  OfferReply reply = offered.reply;
  const std::uint64_t in_bucket = std::uint64_t{9} << 48;
  const std::string full(kChunkBytes, 'x');
  SECTION("more to come, and nothing sent") { reply.next = in_bucket + 5; }
  SECTION("more to come, and little sent") {
    reply.entries = {Put(offered.keys[2], 5)};
    reply.next = reply.entries[0]->key_hash() + 1;
  }
  SECTION("the same to come again") {
    reply.entries = {Put(offered.keys[2], 5, full)};
    reply.next = reply.entries[0]->key_hash();
  }
  SECTION("more of a bucket that was not offered") {
    reply.entries = {Put(offered.keys[2], 5, full)};
    reply.next = in_bucket + (std::uint64_t{1} << 48);
  }
  SECTION("an entry of another bucket") { reply.entries = {Put(KeysOfBucket(10, 1)[0], 5)}; }
  SECTION("wants of another bucket") { reply.wants = {in_bucket - 1}; }
  SECTION("dead of another bucket") { reply.dead = {in_bucket - 1}; }
  SECTION("a floor above our clock") { reply.floor = kNow + 1; }
  offered.pass.OnOfferReply(reply, offered.cache, kNow);
  CHECK(offered.pass.broken());
  CHECK_FALSE(offered.pass.done());
  CHECK_FALSE(offered.pass.HasNext());
  offered.pass.OnOfferReply(offered.reply, offered.cache, kNow);  // too late to make it good
  CHECK(offered.pass.broken());
  CHECK_FALSE(offered.pass.HasNext());
}

TEST_CASE("an answer that fills its message is asked to go on behind it") {
  Offered offered;
  offered.reply.entries = {Put(offered.keys[2], 5, std::string(kChunkBytes, 'x'))};
  offered.reply.next = offered.reply.entries[0]->key_hash() + 1;
  offered.pass.OnOfferReply(offered.reply, offered.cache, kNow);
  CHECK_FALSE(offered.pass.broken());
  const auto request = offered.pass.Next(offered.cache);
  REQUIRE(request);
  const auto& offer = std::get<Offer>(*request);
  CHECK(offer.first == offered.reply.next);
  CHECK(offer.buckets == std::vector<std::uint32_t>{9});
  CHECK(std::all_of(offer.listed.begin(), offer.listed.end(),
                    [&](const Listed& listed) { return listed.key_hash >= offer.first; }));
}

TEST_CASE("what an answerer wants and nobody holds any more is passed over") {
  Offered offered;
  offered.reply.wants = {(std::uint64_t{9} << 48) + 1};
  offered.pass.OnOfferReply(offered.reply, offered.cache, kNow);
  const auto push = std::get<Push>(*offered.pass.Next(offered.cache));
  CHECK(push.entries.empty());
  offered.pass.OnPushReply({push.pass});
  CHECK(offered.pass.done());
}

}  // namespace
}  // namespace podmirror::sync
