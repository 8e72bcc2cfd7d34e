// Writes that depend on what is there: touches, and deletes of what a scan has found.
#include <catch2/catch.hpp>

#include "sync/below.h"
#include "sync/limits.h"
#include "sync/sync_testing.h"

namespace podmirror::sync {
namespace {

WriteItem Put(std::string_view key, std::string_view value, std::int64_t ttl_ms = 0) {
  return {.type = 1, .key = key, .value = value, .remove = false, .ttl_ms = ttl_ms};
}
WriteItem Touch(std::string_view key, std::int64_t ttl_ms) {
  return {.type = 1, .key = key, .value = {}, .remove = false, .ttl_ms = ttl_ms, .touch = true};
}
WriteItem DeleteOf(const Entry& found) {
  return {.type = found.type(),
          .key = found.key(),
          .value = {},
          .remove = true,
          .ttl_ms = 0,
          .touch = false,
          .found = found.version()};
}

struct Fixture {
  explicit Fixture(const NodeOptions& options = OptionsOf(1)) : node(options) {
    node.StartAlone();
    REQUIRE(node.driver.ready());
  }
  WriteOutcome Write(const std::vector<WriteItem>& items) {
    std::optional<WriteOutcome> told;
    REQUIRE(node.driver.Write(items, {AckLevel::kLocal, 0}, [&](const WriteOutcome& outcome) {
      told = outcome;
    }) == WriteRefusal::kNone);
    REQUIRE(told);
    return *told;
  }
  EntryRef Held(std::string_view key) const { return node.cache.Peek(1, key); }

  TestNode node;
};

TEST_CASE("a touch gives another time to live, and leaves the value") {
  Fixture f;
  f.Write({Put("k", "value", 10'000)});
  const Version before = f.Held("k")->version();
  f.node.Run(5'000);
  const WallMs now = f.node.env.now().wall;
  const WriteOutcome outcome = f.Write({Touch("k", 60'000)});
  CHECK(outcome.met);
  CHECK(outcome.absent.empty());
  const EntryRef held = f.Held("k");
  CHECK(held->value() == "value");
  CHECK(held->expires_at() == now + 60'000);
  CHECK(held->version() > before);
  CHECK(held->version() == outcome.version);
  f.node.Run(30'000);
  CHECK(f.node.Has("k"));
  f.node.Run(31'000);
  CHECK_FALSE(f.node.Has("k"));
}

TEST_CASE("a touch travels to the peers as a write of the value") {
  Fixture f;
  f.Write({Put("k", "value")});
  f.node.driver.SetPeers(SetOf({2}));
  FakePeer peer(2, f.node);
  const ConnId conn = peer.Open(f.node);
  peer.Serve(f.node, conn);
  std::optional<WriteOutcome> told;
  const WriteItem touch = Touch("k", 1000);
  f.node.driver.Write({&touch, 1}, {AckLevel::kAll, 1000},
                      [&](const WriteOutcome& outcome) { told = outcome; });
  CHECK_FALSE(told);
  peer.Serve(f.node, conn);
  REQUIRE(told);
  CHECK((told->met && told->acked == 1));
  CHECK(peer.cache.Peek(1, "k")->value() == "value");
  CHECK(peer.cache.Peek(1, "k")->expires_at() == f.node.env.now().wall + 1000);
  CHECK(peer.cache.digest() == f.node.cache.digest());
}

TEST_CASE("what is not there is not touched, and named") {
  Fixture f;
  f.Write({Put("a", "1"), Put("gone", "2"), Put("short", "3", 1000), Put("z", "4")});
  f.node.Delete("gone");
  f.node.env.Advance(1000);  // expired, and not swept yet
  const std::uint64_t last = f.Held("gone")->version().hlc;
  const WriteOutcome outcome =
      f.Write({Put("new", "5"), Touch("a", 9'000), Touch("gone", 9'000), Touch("short", 9'000),
               Touch("never", 9'000), Touch("z", 9'000)});
  CHECK(outcome.absent == std::vector<std::uint32_t>{2, 3, 4});
  CHECK(f.Held("gone")->tombstone());
  CHECK_FALSE(f.node.Has("short"));
  CHECK_FALSE(f.Held("never"));
  // The versions of what was applied follow each other.
  CHECK(outcome.VersionOf(0, 3) == f.Held("new")->version());
  CHECK(outcome.VersionOf(1, 3) == f.Held("a")->version());
  CHECK(outcome.VersionOf(2, 3) == f.Held("z")->version());
  CHECK(f.Held("new")->version().hlc > last);

  const std::uint64_t digest = f.node.cache.digest();
  const WriteOutcome nothing = f.Write({Touch("never", 9'000)});
  CHECK(nothing.met);
  CHECK(nothing.absent == std::vector<std::uint32_t>{0});
  CHECK(f.node.cache.digest() == digest);
}

// A node whose drafts are made by hand, so that something can come between them and the write.
struct Between {
  Between()
      : node(
            OptionsOf(1), cache, assembly, [] { return 7; }, now) {
    node.SetPeers(now, SetOf({}));
    REQUIRE(node.ready());
  }
  void Put(std::string_view value, Version version, WallMs expires_at = 0) {
    cache.Merge(Entry::Make(1, "k", value, version, expires_at), 0);
  }
  Drafts DraftOf(const WriteItem& item) const {
    return {{&item, 1}, cache, node.incarnation(), now.wall};
  }
  WriteOutcome Write(Drafts& drafts) {
    std::optional<WriteOutcome> told;
    CHECK(node.Write(now, drafts, {AckLevel::kLocal, 0},
                     [&](const WriteOutcome& outcome) { told = outcome; }) == WriteRefusal::kNone);
    for (auto& [done, outcome] : node.TakeReady().completions) done(outcome);
    REQUIRE(told);
    return *told;
  }

  Now now{1'000'000, kStartWall};
  Cache cache;
  Assembly assembly;
  Node node;
};

TEST_CASE("a touch keeps the value that comes while it is under way") {
  Between b;
  b.Put("old", {HlcOf(kStartWall - 10), 2});
  Drafts drafts = b.DraftOf(Touch("k", 5'000));
  b.Put("newer", {HlcOf(kStartWall - 9), 2}, kStartWall + 1);
  CHECK(b.Write(drafts).absent.empty());
  const EntryRef held = b.cache.Peek(1, "k");
  CHECK(held->value() == "newer");
  CHECK(held->expires_at() == kStartWall + 5'000);
  CHECK(held->version().origin == b.node.incarnation());
}

TEST_CASE("a touch does not bring back what is deleted while it is under way") {
  Between b;
  b.Put("old", {HlcOf(kStartWall - 10), 2});
  Drafts drafts = b.DraftOf(Touch("k", 5'000));
  b.cache.Merge(Entry::MakeTombstone(1, "k", {HlcOf(kStartWall - 9), 2}), 0);
  CHECK(b.Write(drafts).absent == std::vector<std::uint32_t>{0});
  CHECK(b.cache.Peek(1, "k")->tombstone());
}

TEST_CASE("a delete of what was found leaves what is newer") {
  Fixture f;
  f.Write({Put("a", "1"), Put("b", "2"), Put("c", "3")});
  const EntryRef a = f.Held("a");
  const EntryRef b = f.Held("b");
  const EntryRef c = f.Held("c");
  f.Write({Put("b", "newer")});
  const WriteOutcome outcome = f.Write({DeleteOf(*a), DeleteOf(*b), DeleteOf(*c)});
  CHECK(outcome.absent == std::vector<std::uint32_t>{1});
  CHECK(f.Held("a")->tombstone());
  CHECK(f.Held("b")->value() == "newer");
  CHECK(f.Held("c")->version() == outcome.version);
}

TEST_CASE("at max-memory what is there may be touched and deleted") {
  NodeOptions options = OptionsOf(1);
  options.max_memory = 100'000;
  Fixture f(options);
  int count = 0;
  while (f.node.Put("k" + std::to_string(count), std::string(1000, 'v')) == WriteRefusal::kNone) {
    REQUIRE(++count < 1000);
  }
  CHECK(f.Write({Touch("k0", 1000), Touch("k1", 1000)}).absent.empty());
  CHECK(f.Write({DeleteOf(*f.Held("k2"))}).absent.empty());
}

TEST_CASE("the values that one write touches are bounded, and it is refused as a whole") {
  Fixture f;
  const std::string half(kMaxTouchedBytes / 2, 'v');
  f.Write({Put("a", half)});
  f.Write({Put("b", half)});
  f.Write({Put("c", "v")});
  CHECK(f.Write({Touch("a", 1000), Touch("b", 1000)}).absent.empty());
  const std::uint64_t digest = f.node.cache.digest();
  const std::vector<WriteItem> items = {Put("new", "v"), Touch("a", 1000), Touch("b", 1000),
                                        Touch("c", 1000)};
  CHECK(f.node.driver.Write(items, {AckLevel::kLocal, 0}, kIgnoreOutcome) ==
        WriteRefusal::kTooLarge);
  CHECK(f.node.cache.digest() == digest);
}

TEST_CASE("what begins with a prefix is found, up to a bound") {
  Cache cache;
  const auto put = [&cache](std::int32_t type, const std::string& key, WallMs expires_at = 0) {
    cache.Merge(Entry::Make(type, key, "v", {1, 1}, expires_at), 0);
  };
  for (int i = 0; i < 100; ++i) put(1, "a/" + std::to_string(i));
  put(1, "a");
  put(1, "b/a/1");
  put(2, "a/1");
  put(1, "a/expired", 1000);
  put(1, "a/later", 1001);
  cache.Merge(Entry::MakeTombstone(1, "a/gone", {2, 1}), 0);
  const auto find = [&](std::string_view prefix, std::size_t most, bool cancelled = false) {
    const auto found = FindBelow(cache, 1, prefix, most, 1000, [cancelled] { return cancelled; });
    return found ? static_cast<int>(found->size()) : -1;
  };
  CHECK(find("a/", 101) == 101);
  CHECK(find("a/", 100) == -1);
  CHECK(find("", 1000) == 103);
  CHECK(find("c", 0) == 0);
  CHECK(find("a/", 101, true) == -1);
  const auto found = FindBelow(cache, 1, "a/7", 100, 1000, [] { return false; });
  REQUIRE(found);
  CHECK(found->size() == 11);
  for (const WriteItem& item : DeletesOf(*found)) {
    CHECK((item.remove && item.type == 1 && item.key.starts_with("a/7")));
    CHECK(item.found == Version{1, 1});
  }
}

}  // namespace
}  // namespace podmirror::sync
