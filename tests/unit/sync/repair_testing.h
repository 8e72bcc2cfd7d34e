// What the tests of repair share: a whole pass between two caches, as the streams would carry it,
// and keys made to fall into one bucket or to collide.
#pragma once

#include <algorithm>
#include <bit>
#include <catch2/catch.hpp>
#include <cstdint>
#include <cstring>
#include <functional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "cache/cache.h"
#include "cache/cache_testing.h"
#include "sync/answers.h"
#include "sync/keyed.h"
#include "sync/pass.h"

namespace podmirror::sync {

inline constexpr WallMs kNow = 1'700'000'000'000;

struct Traffic {
  std::uint64_t requests = 0;
  std::uint64_t listed = 0;
  std::uint64_t to_asker = 0;     // entries
  std::uint64_t to_answerer = 0;  // entries
  std::uint64_t parts = 0;        // replies that left something over
  std::size_t largest = 0;        // bytes of entries in one message
  std::size_t most_listed = 0;    // in one message
};

inline std::size_t BytesOf(const std::vector<EntryRef>& entries) {
  std::size_t bytes = 0;
  for (const EntryRef& entry : entries) bytes += entry->packed_size();
  return bytes;
}

// What may happen to a pass on its way.
struct Weather {
  std::uint64_t asker_floor = UINT64_MAX;  // as the answerer believes; the greatest = the true one
  bool fragments = false;                  // both have kFragmentsFeature
  std::function<void()> between = [] {};   // between any two steps
  std::function<Message(Message)> carry = [](Message message) { return message; };
  std::function<void(Pass&)> disturb = [](Pass&) {};  // before the reply arrives
  std::function<void(const Message&)> replied = [](const Message&) {};
};

inline void Deliver(Pass& pass, const Message& reply, Cache& asker) {
  if (const auto* sums = std::get_if<Sums>(&reply)) pass.OnSums(*sums, asker);
  if (const auto* answer = std::get_if<OfferReply>(&reply)) pass.OnOfferReply(*answer, asker, kNow);
  if (const auto* pushed = std::get_if<PushReply>(&reply)) pass.OnPushReply(*pushed);
}

// The answerer's side of a pass, with what is counted.
inline Message Reply(const Message& request, const Cache& asker, Cache& answerer,
                     const Weather& weather, Traffic& traffic) {
  if (const auto* sums = std::get_if<SumsRequest>(&request)) return AnswerSums(answerer, *sums);
  if (const auto* offer = std::get_if<Offer>(&request)) {
    traffic.listed += offer->listed.size();
    traffic.most_listed = std::max(traffic.most_listed, offer->listed.size());
    return AnswerOffer(answerer, *offer,
                       {std::min(weather.asker_floor, asker.purge_floor()), weather.fragments});
  }
  const auto& push = std::get<Push>(request);
  traffic.to_answerer += push.entries.size();
  traffic.largest = std::max(traffic.largest, BytesOf(push.entries));
  answerer.MergeAll(push.entries, kNow, answerer.purge_floor());
  return PushReply{push.pass};
}

// The step of large entries.
inline void ExchangeLarge(Pass& pass, Cache& asker, Cache& answerer, const Weather& weather,
                          Traffic& traffic) {
  constexpr SteadyMs kSteady = 0;
  Assembly at_asker;
  Assembly at_answerer;
  while (LargeExchange* large = pass.large()) {
    if (++traffic.requests > 10'000) FAIL("the pass does not end");
    const LargeExchange::Outgoing next = large->Next(asker, at_asker, 1, {}, true, kSteady);
    weather.between();
    if (const auto* request = std::get_if<FragmentRequest>(&next)) {
      const auto asked = std::get<FragmentRequest>(weather.carry(*request));
      const auto fragment = std::get<Fragment>(weather.carry(AnswerFragment(answerer, asked)));
      weather.between();
      const Assembly::Taken taken =
          TakeFragment(asker, at_asker, 1, fragment, kSteady, kNow, asker.purge_floor());
      traffic.to_asker += taken.entry ? 1 : 0;
      traffic.largest = std::max(traffic.largest, fragment.bytes.size());
      CHECK(large->OnFragment(fragment, taken, kSteady));
    } else if (const auto* slice = std::get_if<Slice>(&next)) {
      const auto fragment = std::get<Fragment>(weather.carry(Cut(*slice)));
      const Assembly::Taken taken =
          TakeFragment(answerer, at_answerer, 2, fragment, kSteady, kNow, answerer.purge_floor());
      traffic.to_answerer += taken.next == fragment.total ? 1 : 0;
      traffic.largest = std::max(traffic.largest, fragment.bytes.size());
      weather.between();
      const auto reply = std::get<FragmentReply>(
          weather.carry(FragmentReply{fragment.id, taken.next, taken.later, taken.dead}));
      CHECK(large->OnReply(reply, kSteady) != Transfer::Step::kBroken);
    }
    pass.LargeUsed();
  }
}

// One whole pass: what the streams do, without them.
inline Traffic RunPass(Cache& asker, Cache& answerer, const Weather& weather = {},
                       std::uint64_t id = 1) {
  Traffic traffic;
  Pass pass(PassStart{id, UINT64_MAX, 0, answerer.purge_floor(), 0, weather.fragments});
  while (std::optional<Message> request = pass.Next(asker)) {
    if (pass.HasNext() || ++traffic.requests > 10'000) FAIL("the pass does not end");
    weather.between();
    const Message reply =
        weather.carry(Reply(weather.carry(std::move(*request)), asker, answerer, weather, traffic));
    weather.between();
    if (const auto* answer = std::get_if<OfferReply>(&reply)) {
      traffic.to_asker += answer->entries.size();
      traffic.parts += answer->next != 0 ? 1 : 0;
      traffic.largest = std::max(traffic.largest, BytesOf(answer->entries));
      asker.MergeAll(answer->entries, kNow, asker.purge_floor());
    }
    weather.between();
    weather.disturb(pass);
    Deliver(pass, reply, asker);
    weather.replied(reply);
    ExchangeLarge(pass, asker, answerer, weather, traffic);
  }
  CHECK(pass.done());
  CHECK_FALSE(pass.broken());
  CHECK(pass.received() == traffic.to_asker);
  CHECK(pass.sent() == traffic.to_answerer);
  return traffic;
}

inline EntryRef Put(const std::string& key, std::uint64_t hlc, const std::string& value = "v") {
  return Entry::Make(1, key, value, {hlc, 1});
}
inline EntryRef Gone(const std::string& key, std::uint64_t hlc) {
  return Entry::MakeTombstone(1, key, {hlc, 1});
}

// Keys of type 1 whose hashes share one bucket, found by trying.
inline std::vector<std::string> KeysOfBucket(std::uint32_t bucket, std::size_t count) {
  std::vector<std::string> keys;
  for (std::uint64_t i = 0; keys.size() < count; ++i) {
    std::string key = "k" + std::to_string(i);
    if (BucketOf(KeyHash(1, key)) == bucket) keys.push_back(std::move(key));
  }
  return keys;
}

// --- crafted keys: for a key of four bytes the hash is a bijection of type and key ---

// Undoes XXH3's last steps for an input of eight bytes.
inline std::uint64_t Unmix(std::uint64_t hash) {
  constexpr std::uint64_t kPrime = 0x9FB21C651E98DF25;
  std::uint64_t inverse = 1;
  for (int i = 0; i < 6; ++i) inverse *= 2 - kPrime * inverse;
  hash ^= hash >> 28 ^ hash >> 56;
  hash *= inverse;
  hash ^= (hash >> 35) + 8;
  hash *= inverse;
  // The step x ^ rotl(x, 49) ^ rotl(x, 24), applied 64 times, changes nothing.
  for (int i = 0; i < 63; ++i) hash ^= std::rotl(hash, 49) ^ std::rotl(hash, 24);
  return hash;
}

// The key of four bytes that has this hash. Most are not UTF-8: see IsValidKey.
inline Key KeyOfHash(std::uint64_t hash) {
  const auto joined = [](std::int32_t type, const std::string& key) {
    std::uint32_t low;
    std::memcpy(&low, key.data(), sizeof(low));
    return low | static_cast<std::uint64_t>(static_cast<std::uint32_t>(type)) << 32;
  };
  const std::uint64_t flip = Unmix(KeyHash(1, "abcd")) ^ joined(1, "abcd");
  const std::uint64_t both = Unmix(hash) ^ flip;
  std::string key(4, ' ');
  const auto low = static_cast<std::uint32_t>(both);
  std::memcpy(key.data(), &low, sizeof(low));
  return {static_cast<std::int32_t>(both >> 32), key};
}

// Keys of all types that share one bucket.
inline std::vector<Key> CraftedKeys(std::uint32_t bucket, std::size_t count) {
  std::vector<Key> keys;
  for (std::uint64_t i = 0; keys.size() < count; ++i) {
    Key key = KeyOfHash(static_cast<std::uint64_t>(bucket) << 48 | i * 0x9E3779B97F4A7C15 >> 16);
    if (IsValidKey(key.second)) keys.push_back(std::move(key));
  }
  return keys;
}

// Two keys with the same hash.
inline std::pair<Key, Key> CollidingKeys() {
  for (int i = 0;; ++i) {
    const Key first{1, "collides-" + std::to_string(i)};
    const Key second = KeyOfHash(KeyHash(first.first, first.second));
    if (IsValidKey(second.second)) return {first, second};
  }
}

}  // namespace podmirror::sync
