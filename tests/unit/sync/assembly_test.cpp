#include "sync/assembly.h"

#include <catch2/catch.hpp>
#include <string>

#include "sync/transfer.h"

namespace podmirror::sync {
namespace {

constexpr ConnId kOne = 1;
constexpr ConnId kOther = 2;

EntryRef Large(const std::string& key, std::size_t fragments, std::uint64_t hlc = 5) {
  return Entry::Make(1, key, std::string(fragments * kFragmentBytes, 'v'), {hlc, 1});
}

// The fragment of an entry that begins at `offset`.
Fragment PartOf(const EntryRef& entry, std::uint64_t offset) {
  return Cut({entry, offset, kFragmentBytes, false});
}
EntryId IdOf(const EntryRef& entry) { return {entry->key_hash(), entry->version()}; }

// Everything from `offset` on, as far as it is taken; the last answer.
Assembly::Taken TakeAll(Assembly& assembly, const EntryRef& entry, std::uint64_t offset,
                        ConnId from, SteadyMs now) {
  Assembly::Taken taken;
  taken.next = offset;
  while (taken.next < entry->packed_size() && !taken.later) {
    taken = assembly.Take(from, PartOf(entry, taken.next), now);
  }
  return taken;
}

TEST_CASE("fragments become the entry again") {
  Assembly assembly;
  const EntryRef entry = Large("k", 3);
  CHECK(assembly.Take(kOne, PartOf(entry, 0), 0).next == kFragmentBytes);
  CHECK(assembly.bytes() == entry->packed_size());
  const Assembly::Taken taken = TakeAll(assembly, entry, kFragmentBytes, kOne, 0);
  REQUIRE(taken.entry);
  CHECK(taken.next == entry->packed_size());
  CHECK(taken.entry->Packed() == entry->Packed());
  CHECK(assembly.bytes() == 0);
}

TEST_CASE("one that fits into a fragment is complete at once") {
  Assembly assembly;
  const EntryRef entry = Entry::MakeTombstone(1, "k", {5, 1});
  CHECK(assembly.Take(kOne, PartOf(entry, 0), 0).entry);
  CHECK(assembly.bytes() == 0);
}

TEST_CASE("whoever brings it next goes on where the lost stream ended") {
  Assembly assembly;
  const EntryRef entry = Large("k", 4);
  assembly.Take(kOne, PartOf(entry, 0), 0);
  assembly.Take(kOne, PartOf(entry, kFragmentBytes), 0);
  SECTION("the end of the stream is known") { assembly.Left(kOne); }
  SteadyMs now = 1;
  SECTION("the stream has gone silent") { now = kSilenceMs; }
  CHECK(assembly.Next(kOther, IdOf(entry), now) == 2 * kFragmentBytes);
  CHECK(assembly.Take(kOther, PartOf(entry, 0), now).next == 2 * kFragmentBytes);
  CHECK(TakeAll(assembly, entry, 2 * kFragmentBytes, kOther, now).entry);
}

TEST_CASE("what another stream brings is not taken from a second one") {
  Assembly assembly;
  const EntryRef entry = Large("k", 4);
  assembly.Take(kOne, PartOf(entry, 0), 0);
  const Assembly::Taken taken = assembly.Take(kOther, PartOf(entry, kFragmentBytes), 1);
  CHECK(taken.later);
  CHECK(taken.next == kFragmentBytes);
  CHECK_FALSE(assembly.Next(kOther, IdOf(entry), 1));
  CHECK(assembly.Next(kOne, IdOf(entry), 1) == kFragmentBytes);
}

TEST_CASE("what a stream does not go on with is left to others") {
  Assembly assembly;
  const EntryRef entry = Large("k", 4);
  assembly.Take(kOne, PartOf(entry, 0), 0);
  assembly.Release(kOther, IdOf(entry));
  CHECK_FALSE(assembly.Next(kOther, IdOf(entry), 1));
  assembly.Release(kOne, IdOf(entry));
  CHECK(assembly.Next(kOther, IdOf(entry), 1) == kFragmentBytes);
  CHECK(TakeAll(assembly, entry, kFragmentBytes, kOther, 1).entry);
}

TEST_CASE("what leaves a gap, or is there already, changes nothing") {
  Assembly assembly;
  const EntryRef entry = Large("k", 4);
  CHECK(assembly.Take(kOne, PartOf(entry, 2 * kFragmentBytes), 0).next == 0);
  CHECK(assembly.Take(kOne, PartOf(entry, 0), 0).next == kFragmentBytes);
  CHECK(assembly.Take(kOne, PartOf(entry, 0), 0).next == kFragmentBytes);
  CHECK(assembly.Take(kOne, PartOf(entry, 1000), 0).next == kFragmentBytes + 1000);
  CHECK(TakeAll(assembly, entry, kFragmentBytes + 1000, kOne, 0).entry->Packed() ==
        entry->Packed());
}

TEST_CASE("a fragment without bytes only asks how far it is") {
  Assembly assembly;
  const EntryRef entry = Large("k", 4);
  const auto ask = [&] { return assembly.Take(kOne, Cut({entry, 0, 0, false}), 0); };
  CHECK(ask().next == 0);
  CHECK_FALSE(ask().later);
  assembly.Take(kOne, PartOf(entry, 0), 0);
  CHECK(ask().next == kFragmentBytes);
}

TEST_CASE("memory is bounded, and what somebody goes on with is never pushed out") {
  Assembly assembly;
  const EntryRef first = Large("first", 384);
  const EntryRef second = Large("second", 384);
  const EntryRef third = Large("third", 384);
  assembly.Take(kOne, PartOf(first, 0), 0);
  assembly.Take(kOne, PartOf(second, 0), 10'000);
  CHECK(assembly.bytes() <= Assembly::kMaxBytes);
  CHECK(assembly.Take(kOther, PartOf(third, 0), Assembly::kSafeMs - 1).later);
  CHECK(assembly.Next(kOne, IdOf(first), Assembly::kSafeMs - 1) == kFragmentBytes);
  // Then the one that has stood still for longest goes.
  CHECK_FALSE(assembly.Take(kOther, PartOf(third, 0), Assembly::kSafeMs).later);
  CHECK(assembly.Next(kOne, IdOf(first), Assembly::kSafeMs) == 0);
  CHECK(assembly.Next(kOne, IdOf(second), Assembly::kSafeMs) == kFragmentBytes);
  CHECK(assembly.bytes() <= Assembly::kMaxBytes);
}

TEST_CASE("what nobody goes on with is forgotten after a while") {
  Assembly assembly;
  const EntryRef entry = Large("k", 2);
  assembly.Take(kOne, PartOf(entry, 0), 0);
  assembly.Sweep(Assembly::kKeptMs - 1);
  CHECK(assembly.bytes() > 0);
  assembly.Sweep(Assembly::kKeptMs);
  CHECK(assembly.bytes() == 0);
  CHECK(assembly.Next(kOne, IdOf(entry), Assembly::kKeptMs) == 0);
}

TEST_CASE("what is not the entry that it was said to be is broken, and forgotten") {
  Assembly assembly;
  const EntryRef entry = Large("k", 2);
  Fragment last = PartOf(entry, 2 * kFragmentBytes);
  SECTION("of another version") {
    for (std::uint64_t at = 0; at < entry->packed_size(); at += kFragmentBytes) {
      last = PartOf(entry, at);
      last.id.version.hlc = 6;
      if (at < 2 * kFragmentBytes) assembly.Take(kOne, last, 0);
    }
  }
  SECTION("of another key") {
    for (std::uint64_t at = 0; at < entry->packed_size(); at += kFragmentBytes) {
      last = PartOf(entry, at);
      ++last.id.key_hash;
      if (at < 2 * kFragmentBytes) assembly.Take(kOne, last, 0);
    }
  }
  SECTION("not an entry at all") {
    Fragment first = PartOf(entry, 0);
    first.bytes.replace(20, 6, 6, '\xff');  // the sizes
    assembly.Take(kOne, first, 0);
    assembly.Take(kOne, PartOf(entry, kFragmentBytes), 0);
  }
  const Assembly::Taken taken = assembly.Take(kOne, last, 0);
  CHECK(taken.broken);
  CHECK_FALSE(taken.entry);
  CHECK(assembly.bytes() == 0);
}

TEST_CASE("a sender that has let it expire brings the tombstone of the same version") {
  Assembly assembly;
  const EntryRef entry = Large("k", 2);
  assembly.Take(kOne, PartOf(entry, 0), 0);
  const EntryRef tombstone = Entry::MakeTombstone(1, "k", entry->version());
  CHECK(assembly.Take(kOther, PartOf(tombstone, 0), 0).entry->tombstone());
}

TEST_CASE("what is in the cache already need not come") {
  Assembly assembly;
  Cache cache;
  const EntryRef entry = Large("k", 3);
  CHECK(TakeFragment(cache, assembly, kOne, PartOf(entry, 0), 0, 0, {}).next == kFragmentBytes);
  cache.Merge(entry, 0);
  const Assembly::Taken taken =
      TakeFragment(cache, assembly, kOne, PartOf(entry, kFragmentBytes), 0, 0, {});
  CHECK(taken.next == entry->packed_size());
  CHECK(assembly.bytes() == 0);
}

TEST_CASE("what is dead is complete, and not merged") {
  Assembly assembly;
  Cache cache;
  const EntryRef entry = Large("k", 2);
  Assembly::Taken taken;
  while (taken.next < entry->packed_size()) {
    taken = TakeFragment(cache, assembly, kOne, PartOf(entry, taken.next), 0, 0, 5);
  }
  CHECK(taken.dead);
  CHECK_FALSE(cache.Peek(1, "k"));
}

}  // namespace
}  // namespace podmirror::sync
