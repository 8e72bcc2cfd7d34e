// The purge floor, and what becomes of what a daemon holds that was away for longer than it allows.
#include <catch2/catch.hpp>

#include "cache/cache_testing.h"
#include "sync/sync_testing.h"

namespace podmirror::sync {
namespace {

constexpr std::int64_t kHour = 3'600'000;  // tombstone-ttl
constexpr std::int64_t kStep = 1000;       // long runs tick once a second

// A ready daemon of the given age (its pod number) that holds an entry and a tombstone.
struct Fixture {
  Fixture() : node(OptionsOf(1)), peer(2, node) {
    node.StartAlone();
    node.Put("k", "v");
    node.Put("gone", "v");
    node.Delete("gone");
  }
  WallMs FloorAge() const { return node.env.now().wall - WallOf(node.cache.purge_floor()); }
  void List(const std::vector<int>& pods) { node.driver.SetPeers(SetOf(pods)); }
  // Connects, and serves until the pass is done.
  ConnId Connect() {
    const ConnId conn = peer.Open(node);
    peer.Serve(node, conn);
    return conn;
  }
  // Runs for so long, while the peer serves.
  void Serve(ConnId conn, std::int64_t ms) {
    for (std::int64_t at = 0; at < ms; at += kStep) {
      node.Run(kStep, kStep);
      peer.Serve(node, conn);
    }
  }
  // The peer left the set three hours ago, and the floor has moved on.
  void LosePeerForHours() {
    List({2});
    Connect();
    List({});
    node.Run(3 * kHour, kStep);
    REQUIRE(FloorAge() < 2 * kHour);
    peer.intro.hlc = HlcOf(node.env.now().wall);
  }
  // The peer has had everything until an hour ago, and of that holds only what is in its cache.
  void PeerForgets() {
    peer.intro.purge_floor = HlcOf(node.env.now().wall - kHour);
    peer.intro.hlc = HlcOf(node.env.now().wall);
    PurgeTo(peer.cache, peer.intro.purge_floor);
  }

  TestNode node;
  FakePeer peer;
};

TEST_CASE("tombstones are forgotten after tombstone-ttl, in steps of a sixteenth") {
  Fixture f;
  f.node.Run(kHour, kStep);
  CHECK(f.node.cache.Stats().tombstones == 1);
  f.node.Run(kHour / 16 + 2 * kStep, kStep);
  CHECK(f.node.cache.Stats().tombstones == 0);
  CHECK(f.FloorAge() >= kHour);
  CHECK(f.FloorAge() <= kHour + kHour / 16 + 2 * kStep);
}

TEST_CASE("a listed peer without contact holds the floor, until it has left for tombstone-ttl") {
  Fixture f;
  f.List({2});
  f.node.Run(5 * kHour, kStep);
  CHECK(f.node.cache.Stats().tombstones == 1);
  CHECK(f.FloorAge() >= 6 * kHour);
  f.List({});
  f.node.Run(kHour - 2 * kStep, kStep);
  CHECK(f.node.cache.Stats().tombstones == 1);
  f.node.Run(kHour / 16 + 4 * kStep, kStep);
  CHECK(f.node.cache.Stats().tombstones == 0);
}

TEST_CASE("one without a UID holds it as well when it leaves") {
  Fixture f;
  PeerSet set = SetOf({2});
  set.peers[0].uid.clear();
  f.node.driver.SetPeers(set);
  f.node.Run(5 * kHour, kStep);
  f.List({});
  f.node.Run(kHour - 2 * kStep, kStep);
  CHECK(f.node.cache.Stats().tombstones == 1);
  f.node.Run(kHour / 16 + 4 * kStep, kStep);
  CHECK(f.node.cache.Stats().tombstones == 0);
}

TEST_CASE("a peer of another cluster holds nothing") {
  Fixture f;
  f.List({2});
  f.peer.intro.cluster = "prod/other";
  f.peer.Open(f.node);
  f.node.Run(kHour + kHour / 16 + 4 * kStep, kStep);
  CHECK(f.node.cache.Stats().tombstones == 0);
}

TEST_CASE("whoever holds the floor for long is named once, and when it does no more") {
  Fixture f;
  f.List({2});
  f.node.Run(5 * kHour, kStep);
  const auto told = [&] {
    return std::count_if(f.node.events.begin(), f.node.events.end(),
                         [](const Event& event) { return event.kind == EventKind::kFloorHeld; });
  };
  CHECK(told() == 1);
  while (f.node.transport.closed.contains(f.node.DialledTo(f.peer.id))) f.node.Run(100);
  f.Connect();
  f.node.Run(2 * kStep, kStep);
  CHECK(told() == 2);
}

// Of two, the older gives up the other; of more, those who are more.
TEST_CASE("a listed peer without contact holds the floor for 24 h at most") {
  Fixture f;
  PeerSet set = SetOf({2});
  set.self_started_at_ms = 1;
  f.node.driver.SetPeers(set);
  f.node.Run(24 * kHour, 10 * kStep);
  CHECK(f.node.cache.Stats().tombstones == 1);
  f.node.Run(kHour + kHour / 16 + 20 * kStep, 10 * kStep);
  CHECK(f.node.cache.Stats().tombstones == 0);
}

TEST_CASE("a few that are cut off from most hold the floor for as long as that lasts") {
  Fixture f;
  f.List({2, 3});
  f.node.Run(27 * kHour, 10 * kStep);
  CHECK(f.node.cache.Stats().tombstones == 1);
}

TEST_CASE("a daemon whose own record is away forgets nothing") {
  Fixture f;
  PeerSet away = SetOf({});
  away.self_listed = false;
  f.node.driver.SetPeers(away);
  f.node.Run(3 * kHour, kStep);
  CHECK(f.node.cache.Stats().tombstones == 1);
  f.List({});
  f.node.Run(2 * kHour, kStep);
  CHECK(f.node.cache.Stats().tombstones == 0);
}

TEST_CASE("completed passes move the floor on") {
  Fixture f;
  f.List({2});
  f.Serve(f.Connect(), 2 * kHour);
  CHECK(f.node.cache.Stats().tombstones == 0);
  CHECK(f.FloorAge() <= kHour + kHour / 8);
}

TEST_CASE("the floor goes no further than a peer in contact can follow") {
  Fixture f;
  f.List({2});
  f.peer.bound = f.node.cache.purge_floor();
  const ConnId conn = f.Connect();
  f.Serve(conn, 2 * kHour);
  CHECK(f.node.cache.Stats().tombstones == 1);
  f.peer.bound = std::numeric_limits<std::uint64_t>::max();
  f.Serve(conn, kHour / 8);
  CHECK(f.node.cache.Stats().tombstones == 0);
}

// What a pod that was away told the peer may be as old as that pod's last pass with it.
TEST_CASE("the floor goes no further than the peer's own passes had come when we last met it") {
  Fixture f;
  f.List({2});
  const std::uint64_t contact = HlcOf(f.node.env.now().wall - 1);
  f.peer.contact = contact;
  const ConnId conn = f.Connect();
  f.Serve(conn, 10 * kStep);
  f.node.driver.Closed(conn, {Code::kUnavailable, "reset"});
  f.node.Run(3 * kHour, kStep);
  CHECK(f.node.cache.purge_floor() <= contact);
  CHECK(f.node.cache.Stats().tombstones == 1);
}

TEST_CASE("a peer's higher floor is taken over with the next pass, whoever else cannot follow") {
  Fixture f;
  FakePeer third(3, f.node);
  third.bound = 0;
  f.List({2, 3});
  const ConnId conn = f.Connect();
  const ConnId other = third.Open(f.node);
  third.Serve(f.node, other);
  f.Serve(conn, kStep);
  f.peer.intro.purge_floor = HlcOf(f.node.env.now().wall);
  f.Serve(conn, 2 * kStep);  // it is told
  CHECK(f.node.cache.Stats().tombstones == 1);
  f.Serve(conn, 10 * kStep);
  CHECK(f.node.cache.Stats().tombstones == 0);
}

// What the peer forgot meanwhile, this pass has not compared.
TEST_CASE("of a peer's floor counts what it was when the pass began") {
  Fixture f;
  f.List({2});
  f.PeerForgets();
  const std::uint64_t before = f.peer.intro.purge_floor;
  const ConnId conn = f.peer.Open(f.node);
  f.peer.intro.purge_floor += HlcOf(kStep);
  f.peer.Serve(f.node, conn);  // it is told, then the pass is done
  CHECK(f.node.cache.purge_floor() == before);
}

TEST_CASE("streams without a completed pass are no contact") {
  Fixture f;
  f.List({2});
  f.peer.answers = false;
  f.Serve(f.Connect(), 2 * kHour);
  CHECK(f.node.cache.Stats().tombstones == 1);
}

TEST_CASE("what a peer brings that was away for too long is dead, unless it is newer") {
  Fixture f;
  const EntryRef old = Entry::Make(1, "old", "v", {HlcOf(f.node.env.now().wall), 77});
  f.LosePeerForHours();
  const EntryRef recent = Entry::Make(1, "recent", "v", {HlcOf(f.node.env.now().wall), 77});
  ConnId inbound = 0;
  REQUIRE(f.peer.SayHello(f.node, &inbound)->refusal == RefusalReason::kNone);
  SECTION("with its writes") { f.node.driver.Receive(inbound, Batch{1, 2, {old, recent}}); }
  SECTION("with its pass") {
    Offer offer{5, {BucketOf(old->key_hash()), BucketOf(recent->key_hash())}, {}, 0, UINT64_MAX};
    std::sort(offer.buckets.begin(), offer.buckets.end());
    for (const EntryRef& entry : {old, recent}) {
      offer.listed.push_back({entry->key_hash(), entry->version(), false});
    }
    f.node.driver.Receive(inbound, offer);
    const auto reply = Find<OfferReply>(f.node.Pull(inbound));
    REQUIRE(reply);
    CHECK(reply->dead == std::vector<std::uint64_t>{old->key_hash()});
    CHECK(reply->floor == f.node.cache.purge_floor());
    CHECK(reply->wants == std::vector<std::uint64_t>{recent->key_hash()});
    f.node.driver.Receive(inbound, Push{6, {old, recent}});
  }
  CHECK_FALSE(f.node.Has("old"));
  CHECK(f.node.Has("recent"));
  CHECK(f.node.Has("k"));
}

TEST_CASE("a daemon that was away drops what is dead, says so, and keeps the rest") {
  Fixture f;
  f.List({2});
  f.peer.cache.Merge(f.node.cache.Peek(1, "k"), kStartWall);
  f.node.Put("deleted", "v");
  f.node.env.Advance(3 * kHour);
  f.node.Put("recent", "v");
  f.PeerForgets();
  f.Connect();
  CHECK(f.node.driver.ready());
  CHECK_FALSE(f.node.Has("deleted"));
  CHECK(f.node.Has("k"));
  CHECK(f.node.Has("recent"));
  CHECK(f.node.cache.purge_floor() == f.peer.intro.purge_floor);
  const auto told = std::find_if(f.node.events.begin(), f.node.events.end(),
                                 [](const Event& e) { return e.kind == EventKind::kDeadDropped; });
  REQUIRE(told != f.node.events.end());
  CHECK(told->peer == "pod-2");
  CHECK(told->numbers.at(0).second == 1);  // of entries
}

TEST_CASE("a pass acknowledges no write that was dead at the peer") {
  Fixture f;
  f.List({2});
  std::map<std::string, WriteOutcome> told;
  const auto put = [&](const std::string& key) {
    f.node.Put(key, "v", {AckLevel::kAll, 10 * kHour},
               [&told, key](const WriteOutcome& outcome) { told[key] = outcome; });
  };
  put("dead");
  f.node.env.Advance(3 * kHour);
  put("recent");
  f.PeerForgets();
  f.Connect();
  f.node.Run(kStep);
  CHECK_FALSE(f.node.Has("dead"));
  REQUIRE(told.size() == 2);
  CHECK_FALSE(told["dead"].met);
  CHECK(told["dead"].pending == std::vector<std::string>{"pod-2"});
  CHECK(told["recent"].met);
}

// Both hold it; neither pass may keep the other from bringing it.
TEST_CASE("a daemon that was away gets all that is alive from whomever it meets first") {
  Fixture f;
  FakePeer third(3, f.node);
  f.List({2, 3});
  f.node.env.Advance(3 * kHour);
  const EntryRef alive =
      Entry::Make(1, "alive", "v", {HlcOf(f.node.env.now().wall - 2 * kHour), 77});
  f.PeerForgets();
  third.intro.purge_floor = f.peer.intro.purge_floor;
  third.intro.hlc = f.peer.intro.hlc;
  PurgeTo(third.cache, third.intro.purge_floor);
  for (FakePeer* peer : {&f.peer, &third}) peer->cache.Merge(alive, kStartWall);
  const ConnId conn = f.peer.Open(f.node);
  const ConnId other = third.Open(f.node);
  for (int i = 0; i < 20; ++i) {  // a message of each in turn
    for (auto& [peer, at] : {std::pair(&f.peer, conn), std::pair(&third, other)}) {
      if (const std::optional<Message> message = f.node.driver.Next(at)) {
        if (auto reply = peer->Answer(f.node, *message)) {
          f.node.driver.Receive(at, std::move(*reply));
        }
      }
    }
    f.node.Run(25);
  }
  CHECK(f.node.Has("alive"));
  CHECK(f.node.cache.purge_floor() == f.peer.intro.purge_floor);
  CHECK(f.peer.cache.Peek(1, "alive"));
}

TEST_CASE("a peer whose floor is above its clock is refused") {
  Fixture f;
  f.List({2});
  SECTION("when it says hello") {
    f.peer.intro.purge_floor = f.peer.intro.hlc + 1;
    CHECK(f.peer.SayHello(f.node)->refusal == RefusalReason::kProtocol);
  }
  SECTION("in a heartbeat of its own") {
    ConnId inbound = 0;
    f.peer.SayHello(f.node, &inbound);
    f.node.driver.Receive(inbound, Heartbeat{f.peer.intro.hlc, 0, 0, ~0ULL, true, true});
    CHECK(f.node.transport.closed.contains(inbound));
  }
  SECTION("in the answer to one") {
    const ConnId conn = f.Connect();
    f.node.driver.Receive(conn, Heartbeat{f.peer.intro.hlc, 0, 0, ~0ULL, true, true});
    CHECK(f.node.transport.closed.contains(conn));
  }
  f.node.Run(30 * kStep, kStep);
  CHECK(f.node.cache.purge_floor() < f.peer.intro.hlc);
}

// The pass compares what we hold; what came behind its back would stay.
TEST_CASE("during a pass with a peer of a higher floor nothing that is dead is taken from others") {
  Fixture f;
  FakePeer third(3, f.node);
  f.List({2, 3});
  const EntryRef dead = Entry::Make(1, "dead", "v", {HlcOf(f.node.env.now().wall), 77});
  ConnId inbound = 0;
  third.SayHello(f.node, &inbound);
  f.node.env.Advance(3 * kHour);
  f.PeerForgets();
  const ConnId conn = f.peer.Open(f.node);
  const std::optional<Message> beat = f.node.driver.Next(conn);  // the pass has begun
  f.node.driver.Receive(inbound, Batch{1, 1, {dead}});
  CHECK_FALSE(f.node.Has("dead"));
  REQUIRE(beat);
}

// Else a tombstone could be stored that is older than what was dropped.
TEST_CASE("a pass drops up to the floor that it takes over, and not beyond") {
  Fixture f;
  f.List({2});
  const std::uint64_t between = HlcOf(f.node.env.now().wall);
  ConnId inbound = 0;
  f.peer.SayHello(f.node, &inbound);
  f.node.driver.Receive(inbound, Batch{1, 1, {Entry::Make(1, "dead", "v", {between, 77})}});
  REQUIRE(f.node.Has("dead"));
  f.node.env.Advance(3 * kHour);
  f.peer.intro.hlc = HlcOf(f.node.env.now().wall);
  f.peer.intro.purge_floor = between - HlcOf(kHour);  // as it tells when the pass begins
  f.peer.cache.RaiseFloor(between);                   // and when it answers
  f.Connect();
  CHECK(f.node.Has("dead"));
  CHECK(f.node.cache.purge_floor() == f.peer.intro.purge_floor);
  // The next one, which knows.
  f.peer.intro.purge_floor = between;
  for (int i = 0; i < 30 && f.node.Has("dead"); ++i) f.Serve(f.node.DialledTo(f.peer.id), kStep);
  CHECK_FALSE(f.node.Has("dead"));
}

TEST_CASE("a joiner takes over the floor of whom it has checked its copy with") {
  TestNode node(OptionsOf(2));
  FakePeer donor(1, node);
  donor.intro.purge_floor = HlcOf(kStartWall - kHour);
  node.driver.SetPeers(SetOf({1}));
  donor.Serve(node, donor.Open(node));
  CHECK(node.driver.ready());
  CHECK(node.cache.purge_floor() == donor.intro.purge_floor);
}

}  // namespace
}  // namespace podmirror::sync
