#include "cache/slots.h"

#include <catch2/catch.hpp>
#include <map>
#include <random>
#include <string>
#include <vector>

namespace podmirror {
namespace {

EntryRef MakeEntry(int key, std::uint64_t hlc) {
  return Entry::Make(1, std::to_string(key), "value", {hlc, 1});
}

TEST_CASE("slots hold what a plain map holds, whatever the spread over the buckets") {
  const std::uint64_t seed = GENERATE(1, 2, 3);
  INFO("seed " << seed);
  std::mt19937_64 random(seed);
  // One bucket for all; a few; all of them.
  for (const std::uint32_t buckets : {1U, 3U, kBucketsPerGroup}) {
    CAPTURE(buckets);
    Slots slots;
    std::map<int, std::uint64_t> model;  // key -> hlc
    // Four hash values for all keys: equal tags must not be taken for equal keys.
    const auto hash = [](int key) { return static_cast<std::uint64_t>(key % 4); };
    const auto bucket = [&](int key) { return static_cast<std::uint32_t>(key) % buckets; };
    for (int step = 0; step < 6000; ++step) {
      const int key = static_cast<int>(random() % 1500);
      // Fill in the first half, drain in the second.
      const bool remove = random() % 4 >= (step < 3000 ? 3U : 1U);
      const std::uint32_t index = slots.Find(bucket(key), hash(key), 1, std::to_string(key));
      REQUIRE((index != Slots::kNone) == model.contains(key));
      if (index == Slots::kNone) {
        if (remove) continue;
        slots.Add(bucket(key), hash(key), MakeEntry(key, step));
        model[key] = step;
      } else if (remove) {
        CHECK(slots.Remove(bucket(key), index)->version().hlc == model[key]);
        model.erase(key);
      } else {
        EntryRef entry = MakeEntry(key, step);
        slots.Replace(bucket(key), index, entry);
        CHECK(entry->version().hlc == model[key]);
        model[key] = step;
      }
    }
    std::map<int, std::uint64_t> held;
    for (std::uint32_t b = 0; b < kBucketsPerGroup; ++b) {
      for (std::uint32_t i = 0; i < slots.size(b); ++i) {
        held.emplace(std::stoi(std::string(slots.at(b, i).key())), slots.at(b, i).version().hlc);
      }
    }
    CHECK(held == model);
  }
}

TEST_CASE("free places serve any bucket, so that a slot costs little more than itself") {
  Slots slots;
  std::mt19937 random(1);
  for (int key = 0; key < 4000; ++key) {
    const std::uint32_t bucket = random() % kBucketsPerGroup;
    slots.Add(bucket, static_cast<std::uint64_t>(key), MakeEntry(key, bucket));
    if (key > 2000) CHECK(slots.memory_bytes() < static_cast<std::size_t>(key) * 7 * 5 / 4);
  }
  int wrong = 0;
  int held = 0;
  for (std::uint32_t bucket = 0; bucket < kBucketsPerGroup; ++bucket) {
    for (std::uint32_t i = 0; i < slots.size(bucket); ++i, ++held) {
      wrong += slots.at(bucket, i).version().hlc != bucket;
    }
  }
  CHECK(held == 4000);
  CHECK(wrong == 0);
}

TEST_CASE("slots give memory back") {
  Slots slots;
  CHECK(slots.memory_bytes() == 0);
  for (int key = 0; key < 5000; ++key) {
    slots.Add(static_cast<std::uint32_t>(key) % kBucketsPerGroup, 0, MakeEntry(key, 1));
  }
  CHECK(slots.memory_bytes() < 5000 * 8);
  for (std::uint32_t bucket = 0; bucket < kBucketsPerGroup; ++bucket) {
    while (slots.size(bucket) > 1) slots.Remove(bucket, 0);
  }
  CHECK(slots.memory_bytes() < 8 * 1024);
  for (std::uint32_t bucket = 0; bucket < kBucketsPerGroup; ++bucket) slots.Remove(bucket, 0);
  CHECK(slots.memory_bytes() == 0);
}

TEST_CASE("the index of a crowded bucket counts as memory, and is given back") {
  Slots spread;
  Slots crowded;
  for (int key = 0; key < 5000; ++key) {
    spread.Add(static_cast<std::uint32_t>(key) % kBucketsPerGroup, 0, MakeEntry(key, 1));
    crowded.Add(7, 0, MakeEntry(key, 1));
  }
  CHECK(crowded.memory_bytes() > spread.memory_bytes() + 5000 * sizeof(std::string_view));
  while (crowded.size(7) > 0) crowded.Remove(7, crowded.size(7) / 2);
  CHECK(crowded.memory_bytes() == 0);
}

}  // namespace
}  // namespace podmirror
