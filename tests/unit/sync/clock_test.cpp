// Clocks that are apart: what has expired here and not elsewhere, and a clock that is set back.
#include <catch2/catch.hpp>

#include "sync/sync_testing.h"

namespace podmirror::sync {
namespace {

constexpr std::int64_t kHour = 3'600'000;

// A ready daemon with an entry that ends in a minute, and a peer whose clock the test sets.
struct Fixture {
  Fixture() : node(OptionsOf(1)), peer(2, node) {
    node.StartAlone();
    node.driver.SetPeers(SetOf({2}));
    peer.SayHello(node, &inbound);
    WriteItem item;
    item.type = 1;
    item.key = "k";
    item.value = "v";
    item.ttl_ms = 60'000;
    node.driver.Write({&item, 1}, {AckLevel::kLocal, 1000}, kIgnoreOutcome);
  }
  // The peer's clock is so far ahead of ours.
  void Beat(std::int64_t ahead_ms) {
    Heartbeat heartbeat{HlcOf(node.env.now().wall)};
    heartbeat.wall = node.env.now().wall + ahead_ms;
    node.driver.Receive(inbound, heartbeat);
  }
  bool Stored() const { return node.cache.Stats().entries == 1; }

  TestNode node;
  FakePeer peer;
  ConnId inbound = 0;
};

TEST_CASE("what has expired is dropped when the clocks of all peers have passed its end") {
  Fixture f;
  f.Beat(-30'000);
  f.node.Run(61'000, 1000);
  CHECK_FALSE(f.node.Has("k"));  // hidden by our own clock
  CHECK(f.Stored());
  f.node.Run(28'000, 1000);
  CHECK(f.Stored());
  f.node.Run(3000, 1000);  // its clock goes on, whether we hear of it or not
  CHECK_FALSE(f.Stored());
  CHECK(f.node.driver.Status().expired == 1);
}

TEST_CASE("what a joiner's clock calls expired stays until it has heard the clocks of all") {
  TestNode node(OptionsOf(3));
  node.env.Set(kStartWall + 40 * 60'000);
  node.driver.Tick();
  FakePeer donor(1, node);  // on the same machine, by the same wrong clock
  FakePeer right(2, node);
  donor.intro.wall = kStartWall + 40 * 60'000;
  right.intro.wall = kStartWall;
  const EntryRef entry =
      Entry::Make(1, "k", "v", {HlcOf(kStartWall - 90 * 60'000), 1}, kStartWall + 30 * 60'000);
  donor.cache.Merge(entry, kStartWall);
  right.cache.Merge(entry, kStartWall);
  node.driver.SetPeers(SetOf({1, 2}));
  const ConnId to_donor = donor.Open(node);
  donor.Serve(node, to_donor);  // the whole copy
  const ConnId to_right = right.Open(node);
  for (int i = 0; i < 50 && !node.driver.ready(); ++i) {
    right.Serve(node, to_right);
    donor.Serve(node, to_donor);
    node.Run(100);
  }
  REQUIRE(node.driver.ready());
  CHECK_FALSE(node.Has("k"));  // hidden
  CHECK(node.cache.Stats().entries == 1);
  node.env.Set(kStartWall);
  CHECK(node.Has("k"));
}

TEST_CASE("our own clock jumps ahead and back: nothing is lost") {
  Fixture f;
  f.Beat(0);
  f.node.env.Set(f.node.env.now().wall + 21 * kHour);
  f.node.Run(2000);
  CHECK_FALSE(f.node.Has("k"));
  f.node.env.Set(f.node.env.now().wall - 21 * kHour);
  f.node.Run(1000);
  CHECK(f.node.Has("k"));
  CHECK(f.node.Saw(EventKind::kClocksApart));
}

TEST_CASE("an entry that came expired by our clock alone is stored alive") {
  Fixture f;
  f.Beat(-kHour);
  const WallMs now = f.node.env.now().wall;
  const EntryRef entry = Entry::Make(1, "late", "v", {HlcOf(now), 2}, now - 1000);
  f.node.driver.Receive(f.inbound, Batch{1, 1, {entry}});
  CHECK_FALSE(f.node.Has("late"));
  REQUIRE(f.node.cache.Peek(1, "late"));
  CHECK_FALSE(f.node.cache.Peek(1, "late")->tombstone());
}

TEST_CASE("a clock that is ahead delays nothing") {
  Fixture f;
  f.Beat(kHour);
  f.node.Run(61'000, 1000);
  CHECK_FALSE(f.Stored());
}

// It forgot up to a moment that its clock had not come to any more, so nobody could join it.
TEST_CASE("a lone daemon whose clock is set back forgets nothing that is still to come") {
  TestNode node(OptionsOf(1));
  node.env.Set(kStartWall + 12 * kHour);
  node.StartAlone();
  node.Run(5 * kHour / 2, 1000);
  const std::uint64_t floor = node.cache.purge_floor();
  REQUIRE(WallOf(floor) > kStartWall + 12 * kHour);
  node.env.Set(kStartWall + 5 * kHour / 2);
  node.Put("k", "v");
  CHECK(node.cache.Peek(1, "k")->version().hlc > floor);
  node.driver.SetPeers(SetOf({2}));
  FakePeer peer(2, node);
  const auto reply = peer.SayHello(node);
  REQUIRE(reply);
  CHECK(reply->self.purge_floor <= reply->self.hlc);
}

}  // namespace
}  // namespace podmirror::sync
