#include "sync/transfer.h"

#include <catch2/catch.hpp>
#include <string>

#include "sync/repair_testing.h"

namespace podmirror::sync {
namespace {

// A transfer of an entry of four fragments, and the last one short.
struct Fixture {
  Fixture() { transfer.Begin(entry, true); }
  Fragment Send() {
    REQUIRE(transfer.Due(now));
    return Cut(transfer.Next());
  }
  Transfer::Step Reply(std::uint64_t next, bool later = false) {
    return transfer.OnReply({{entry->key_hash(), entry->version()}, next, later, false}, now);
  }

  const EntryRef entry = Put("k", 5, std::string(3 * kFragmentBytes, 'v'));
  const std::uint64_t total = entry->packed_size();
  Transfer transfer;
  SteadyMs now = 1000;
};

TEST_CASE("an entry goes fragment by fragment, one unanswered at a time") {
  Fixture f;
  for (std::uint64_t offset = 0; offset < 3 * kFragmentBytes; offset += kFragmentBytes) {
    const Fragment fragment = f.Send();
    CHECK(fragment.offset == offset);
    CHECK(fragment.bytes == f.entry->Packed(offset, kFragmentBytes));
    CHECK(fragment.total == f.total);
    CHECK(fragment.write);
    CHECK_FALSE(f.transfer.Due(f.now));
    CHECK(f.Reply(offset + kFragmentBytes) == Transfer::Step::kGoesOn);
  }
  CHECK(f.Send().bytes.size() == f.total - 3 * kFragmentBytes);
  CHECK(f.Reply(f.total) == Transfer::Step::kDone);
}

TEST_CASE("it goes on where the peer says") {
  Fixture f;
  (void)f.Send();
  SECTION("the peer had more of it") {
    CHECK(f.Reply(3 * kFragmentBytes) == Transfer::Step::kGoesOn);
    CHECK(f.Send().offset == 3 * kFragmentBytes);
  }
  SECTION("the peer had all of it") { CHECK(f.Reply(f.total) == Transfer::Step::kDone); }
  SECTION("the peer has forgotten what it had") {
    f.Reply(kFragmentBytes);
    (void)f.Send();
    CHECK(f.Reply(0) == Transfer::Step::kGoesOn);
    CHECK_FALSE(f.transfer.Due(f.now));
    f.now += Transfer::kLaterMs;
    CHECK(f.Send().offset == 0);
  }
}

TEST_CASE("what the peer does not take now is asked for a second later, without its bytes") {
  Fixture f;
  (void)f.Send();
  for (int i = 0; i < 3; ++i) {
    CHECK(f.Reply(0, true) == Transfer::Step::kGoesOn);
    CHECK_FALSE(f.transfer.Due(f.now + Transfer::kLaterMs - 1));
    f.now += Transfer::kLaterMs;
    CHECK(f.Send().bytes.empty());
  }
  CHECK(f.Reply(kFragmentBytes) == Transfer::Step::kGoesOn);
  const Fragment fragment = f.Send();
  CHECK(fragment.offset == kFragmentBytes);
  CHECK(fragment.bytes.size() == kFragmentBytes);
}

TEST_CASE("an answer to something else, or to nothing, is ignored; an impossible one is not") {
  Fixture f;
  CHECK(f.Reply(kFragmentBytes) == Transfer::Step::kIgnored);
  (void)f.Send();
  const EntryId other{f.entry->key_hash(), {6, 1}};
  CHECK(f.transfer.OnReply({other, f.total, false, false}, f.now) == Transfer::Step::kIgnored);
  CHECK(f.Reply(f.total + 1) == Transfer::Step::kBroken);
}

TEST_CASE("an entry is found by its version, else by the next newer one") {
  Cache cache;
  const auto hash = KeyHash(1, "k");
  CHECK_FALSE(FindVersion(cache, {hash, {5, 1}}));
  cache.Merge(Put("k", 7), kNow);
  CHECK(FindVersion(cache, {hash, {7, 1}}));
  CHECK(FindVersion(cache, {hash, {5, 1}}));
  CHECK_FALSE(FindVersion(cache, {hash, {8, 1}}));
  const auto [first, second] = CollidingKeys();
  cache.Merge(Entry::Make(first.first, first.second, "a", {20, 1}), kNow);
  cache.Merge(Entry::Make(second.first, second.second, "b", {10, 1}), kNow);
  CHECK(FindVersion(cache, {KeyHash(first.first, first.second), {9, 1}})->value() == "b");
}

}  // namespace
}  // namespace podmirror::sync
