// The purge floor, and what becomes of a daemon that was out of contact for longer than it allows.
#include <catch2/catch.hpp>

#include "sync/sync_testing.h"

namespace podmirror::sync {
namespace {

constexpr std::int64_t kHour = 3'600'000;  // tombstone-ttl
constexpr std::int64_t kStep = 1000;       // long runs tick once a second

// A ready daemon of the given age (its pod number) that holds an entry and a tombstone.
struct Fixture {
  explicit Fixture(int pod = 1, int other = 2) : node(OptionsOf(pod)), peer(other, node) {
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
  // The peer was known, left the set, and the floor has moved on over three hours.
  void LosePeerForHours() {
    List({std::stoi(peer.id.substr(4))});
    Connect();
    List({});
    node.Run(3 * kHour, kStep);
    REQUIRE(FloorAge() < 2 * kHour);
    peer.intro.hlc = HlcOf(node.env.now().wall);
    peer.intro.copy_age_ms = 4 * kHour;
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

TEST_CASE("a listed peer without contact holds the floor for 24 h at most") {
  Fixture f;
  f.List({2});
  f.node.Run(24 * kHour, 10 * kStep);
  CHECK(f.node.cache.Stats().tombstones == 1);
  f.node.Run(kHour + kHour / 16 + 20 * kStep, 10 * kStep);
  CHECK(f.node.cache.Stats().tombstones == 0);
}

TEST_CASE("completed passes move the floor on") {
  Fixture f;
  f.List({2});
  ConnId conn = f.Connect();
  for (int i = 0; i < 2 * 3600; ++i) {
    f.node.Run(kStep, kStep);
    f.peer.Serve(f.node, conn);
  }
  CHECK(f.node.cache.Stats().tombstones == 0);
  CHECK(f.FloorAge() <= kHour + kHour / 8);
}

TEST_CASE("the floor goes no further than a peer in contact can follow") {
  Fixture f;
  f.List({2});
  f.peer.reached = f.node.cache.purge_floor();
  ConnId conn = f.Connect();
  const auto run = [&](std::int64_t ms) {
    for (std::int64_t at = 0; at < ms; at += kStep) {
      f.node.Run(kStep, kStep);
      f.peer.Serve(f.node, conn);
    }
  };
  run(2 * kHour);
  CHECK(f.node.cache.Stats().tombstones == 1);
  f.peer.reached = std::numeric_limits<std::uint64_t>::max();
  run(kHour / 8);
  CHECK(f.node.cache.Stats().tombstones == 0);
}

TEST_CASE("a peer's floor is followed as far as the other peers can follow") {
  Fixture f;
  FakePeer third(3, f.node);
  third.reached = 0;
  f.List({2, 3});
  const ConnId conn = f.Connect();
  const ConnId other = third.Open(f.node);
  const auto run = [&](std::int64_t ms = kHour / 16) {
    for (std::int64_t at = 0; at < ms; at += kStep) {
      f.node.Run(kStep, kStep);
      f.peer.Serve(f.node, conn);
      third.Serve(f.node, other);
    }
  };
  run(10 * kStep);
  f.peer.intro.purge_floor = HlcOf(f.node.env.now().wall);
  run();
  CHECK(f.node.cache.Stats().tombstones == 1);
  third.reached = std::numeric_limits<std::uint64_t>::max();
  run();
  CHECK(f.node.cache.Stats().tombstones == 0);
}

TEST_CASE("streams without a completed pass are no contact") {
  Fixture f;
  f.List({2});
  f.peer.answers = false;
  ConnId conn = f.Connect();
  for (int i = 0; i < 2 * 3600; ++i) {
    f.node.Run(kStep, kStep);
    f.peer.Serve(f.node, conn);
  }
  CHECK(f.node.cache.Stats().tombstones == 1);
}

TEST_CASE("a younger peer that comes back after too long must join anew") {
  Fixture f(1, 2);
  f.LosePeerForHours();
  SECTION("by what it knows itself") {}
  // It cannot know what has come to us from others since.
  SECTION("also when it knows of a later pass with us") {
    f.peer.intro.contact = HlcOf(f.node.env.now().wall - kHour / 2);
  }
  const auto reply = f.peer.SayHello(f.node);
  REQUIRE(reply);
  CHECK(reply->refusal == RefusalReason::kStale);
  CHECK(f.node.driver.ready());
  CHECK(f.node.Has("k"));
}

TEST_CASE("a peer that joins anew is not stale") {
  Fixture f(1, 2);
  f.LosePeerForHours();
  SECTION("it holds no copy yet") {
    f.peer.intro.synced = false;
    f.peer.intro.copy_age_ms = 0;
  }
  SECTION("its copy is younger than tombstone-ttl") { f.peer.intro.copy_age_ms = kHour / 2; }
  CHECK(f.peer.SayHello(f.node)->refusal == RefusalReason::kNone);
  CHECK(f.node.driver.ready());
}

// Each way of finding out that we are the stale one. Where both floors have passed the last
// contact, the younger is.
TEST_CASE("a stale daemon drops its copy, says so, and joins anew as another incarnation") {
  Fixture f(2, 1);
  const Incarnation before = f.node.driver.Status().incarnation;
  SECTION("an elder one says hello") {
    f.LosePeerForHours();
    f.peer.intro.purge_floor = HlcOf(f.node.env.now().wall - kHour);
    CHECK_FALSE(f.peer.SayHello(f.node));
  }
  SECTION("an elder one answers ours") {
    f.LosePeerForHours();
    f.peer.intro.purge_floor = HlcOf(f.node.env.now().wall - kHour);
    f.List({1});
    f.peer.Open(f.node);
  }
  SECTION("its floor is above our contact") {
    f.List({1});
    f.node.Run(3 * kHour, kStep);
    f.peer.intro.hlc = HlcOf(f.node.env.now().wall);
    f.peer.intro.purge_floor = HlcOf(f.node.env.now().wall - kHour);
    f.peer.Open(f.node);
  }
  SECTION("a peer tells us") {
    f.List({1});
    const ConnId conn = f.node.DialledTo(f.peer.id);
    f.node.driver.Opened(conn);
    (void)f.node.Pull(conn);
    HelloReply reply;
    reply.self = f.peer.intro;
    reply.refusal = RefusalReason::kStale;
    f.node.driver.Receive(conn, reply);
  }
  CHECK_FALSE(f.node.driver.ready());
  CHECK(f.node.cache.Stats().entries == 0);
  CHECK(f.node.driver.Status().incarnation != before);
  CHECK(f.node.Put("k", "v") == WriteRefusal::kNotReady);
  const auto dropped = std::find_if(f.node.events.begin(), f.node.events.end(), [](const Event& e) {
    return e.kind == EventKind::kCopyDropped;
  });
  REQUIRE(dropped != f.node.events.end());
  CHECK(dropped->numbers.at(0).second == 1);  // of entries

  // It copies from the other, and is ready again.
  f.peer.cache.Merge(Entry::Make(1, "theirs", "v", {HlcOf(kStartWall), 9}), kStartWall);
  f.List({1});
  const ConnId conn = f.peer.Open(f.node);
  for (int i = 0; i < 100 && !f.node.driver.ready(); ++i) {
    f.peer.Serve(f.node, conn);
    f.node.Run(25);
  }
  CHECK(f.node.driver.ready());
  CHECK(f.node.Has("theirs"));
}

TEST_CASE("dropping the copy ends every stream and every wait") {
  Fixture f(2, 1);
  f.List({1, 3});
  FakePeer third(3, f.node);
  const ConnId link = third.Open(f.node);
  ConnId inbound = 0;
  third.SayHello(f.node, &inbound);
  std::optional<WriteOutcome> told;
  f.node.Put("k2", "v", {AckLevel::kAll, 100'000}, [&](const WriteOutcome& o) { told = o; });
  f.node.env.Advance(2 * kHour);  // its copy is as old
  f.peer.intro.purge_floor = HlcOf(f.node.env.now().wall + kHour);
  f.peer.Open(f.node);
  CHECK(f.node.transport.closed.contains(link));
  CHECK(f.node.transport.closed.contains(inbound));
  REQUIRE(told);
  CHECK_FALSE(told->met);
  // What still arrives on the old streams is not taken.
  const EntryRef late = Entry::Make(1, "late", "v", {HlcOf(kStartWall), 9});
  f.node.driver.Receive(inbound, Batch{1, 1, {late}});
  f.node.driver.Receive(link, OfferReply{1, {late}, {}, false});
  CHECK_FALSE(f.node.Has("late"));
  CHECK_FALSE(f.node.driver.Next(link));
  CHECK(f.node.DialledTo("uid-3") != link);
}

TEST_CASE("a joiner takes over the floor of its donor") {
  TestNode node(OptionsOf(2));
  FakePeer donor(1, node);
  donor.intro.purge_floor = HlcOf(kStartWall - kHour);
  node.driver.SetPeers(SetOf({1}));
  const ConnId conn = donor.Open(node);
  std::optional<Message> message;
  while ((message = node.driver.Next(conn))) {
    std::optional<Message> reply = donor.Answer(node, *message);
    REQUIRE(reply);
    if (auto* chunk = std::get_if<FetchReply>(&*reply)) {
      chunk->purge_floor = donor.intro.purge_floor;
    }
    node.driver.Receive(conn, std::move(*reply));
  }
  CHECK(node.driver.ready());
  CHECK(node.cache.purge_floor() == donor.intro.purge_floor);
}

TEST_CASE("a joiner waits for those who left its donor's set as long as the donor does") {
  TestNode node(OptionsOf(2));
  FakePeer donor(1, node);
  node.driver.SetPeers(SetOf({1}));
  const ConnId conn = donor.Open(node);
  while (std::optional<Message> message = node.driver.Next(conn)) {
    std::optional<Message> reply = donor.Answer(node, *message);
    REQUIRE(reply);
    if (auto* chunk = std::get_if<FetchReply>(&*reply)) {
      chunk->contacts = {{"uid-9", HlcOf(kStartWall - kHour), kHour / 2}};
    }
    node.driver.Receive(conn, std::move(*reply));
  }
  REQUIRE(node.driver.ready());
  node.Put("gone", "v");
  node.Delete("gone");
  const auto run = [&](std::int64_t ms) {
    for (std::int64_t at = 0; at < ms; at += kStep) {
      node.Run(kStep, kStep);
      donor.Serve(node, conn);
    }
  };
  run(kHour / 4);
  // The donor would take us along at once, were it not for the one that left.
  donor.intro.purge_floor = HlcOf(node.env.now().wall);
  run(kHour / 8);
  CHECK(node.cache.Stats().tombstones == 1);
  run(kHour / 4);
  CHECK(node.cache.Stats().tombstones == 0);
}

TEST_CASE("what comes late from one peer is kept for another that has not had it") {
  Fixture f;
  FakePeer away(3, f.node);
  f.List({2, 3});
  const std::uint64_t old = HlcOf(f.node.env.now().wall);
  f.node.Run(kStep, kStep);
  const ConnId conn = f.Connect();
  const ConnId lost = away.Open(f.node);
  away.Serve(f.node, lost);
  f.node.driver.Closed(lost, {Code::kUnavailable, "reset"});
  // Deleted before we last met the one that is away, told by the other one only now.
  ConnId inbound = 0;
  f.peer.SayHello(f.node, &inbound);
  f.node.driver.Receive(inbound, Batch{1, 1, {Entry::MakeTombstone(1, "late", {old, 77})}});
  for (std::int64_t at = 0; at < 3 * kHour; at += kStep) {
    f.node.Run(kStep, kStep);
    f.peer.Serve(f.node, conn);
    f.node.driver.Receive(inbound, Heartbeat{HlcOf(f.node.env.now().wall), ~0ULL, 0, true, true});
    f.node.Pull(inbound);
  }
  CHECK(f.node.cache.Peek(1, "late"));
}

TEST_CASE("who was away while something came late, and was forgotten, must join anew") {
  Fixture f;
  FakePeer away(3, f.node);
  f.List({2, 3});
  const std::uint64_t old = HlcOf(f.node.env.now().wall);
  const ConnId conn = f.Connect();
  const ConnId left = away.Open(f.node);
  const auto run = [&](std::int64_t ms) {
    for (std::int64_t at = 0; at < ms; at += kStep) {
      f.node.Run(kStep, kStep);
      f.peer.Serve(f.node, conn);
      away.Serve(f.node, left);
    }
  };
  run(28 * 60'000);
  away.intro.contact = HlcOf(f.node.env.now().wall);
  f.List({2});
  ConnId inbound = 0;
  f.peer.SayHello(f.node, &inbound);
  f.node.driver.Receive(inbound, Batch{1, 1, {Entry::MakeTombstone(1, "late", {old, 77})}});
  f.node.driver.Closed(inbound, {Code::kUnavailable, "reset"});
  run(kHour - 10 * kStep);
  CHECK(f.node.cache.Peek(1, "late"));
  run(20 * kStep);
  CHECK_FALSE(f.node.cache.Peek(1, "late"));
  REQUIRE(f.node.cache.purge_floor() < away.intro.contact);
  away.intro.hlc = HlcOf(f.node.env.now().wall);
  away.intro.copy_age_ms = 4 * kHour;
  const auto reply = away.SayHello(f.node);
  REQUIRE(reply);
  CHECK(reply->refusal == RefusalReason::kStale);
}

// The one that was cut off is stale: its floor has stood still at its last contact, so it has
// forgotten nothing that we missed, but we have forgotten what it missed.
TEST_CASE("an elder peer that was cut off does not make the others drop what it missed") {
  Fixture f(2, 1);
  f.LosePeerForHours();
  f.peer.intro.purge_floor = HlcOf(f.node.env.now().wall - 4 * kHour);
  const auto reply = f.peer.SayHello(f.node);
  CHECK(f.node.driver.ready());
  CHECK(f.node.Has("k"));
  REQUIRE(reply);
  CHECK(reply->refusal == RefusalReason::kStale);
}

// Our donor knew when the peer was last in contact; we never met it.
TEST_CASE("a stale peer is found out by a daemon that joined after it had gone") {
  Fixture f(1, 9);
  FakePeer gone(2, f.node);
  f.List({2});
  gone.Serve(f.node, gone.Open(f.node));
  f.List({});
  f.node.Run(3 * kHour, kStep);

  ConnId joiner = 0;
  f.peer.intro.hlc = HlcOf(f.node.env.now().wall);
  f.peer.intro.synced = false;
  f.peer.SayHello(f.node, &joiner);
  f.node.driver.Receive(joiner, Fetch{});
  const auto end = Find<FetchReply>(f.node.Pull(joiner));
  REQUIRE(end);
  REQUIRE(end->done);
  CHECK(std::any_of(end->contacts.begin(), end->contacts.end(),
                    [](const Contact& contact) { return contact.uid == "uid-2"; }));
}

TEST_CASE("a peer never passed with is not told that it was") {
  Fixture f;
  f.List({2});
  const ConnId conn = f.node.DialledTo("uid-2");
  f.node.driver.Opened(conn);
  const auto hello = Find<Hello>(f.node.Pull(conn));
  REQUIRE(hello);
  CHECK(hello->self.contact == 0);
}

}  // namespace
}  // namespace podmirror::sync
