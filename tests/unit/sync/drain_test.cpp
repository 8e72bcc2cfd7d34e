// The drain: what is handed over before the daemon may go.
#include <catch2/catch.hpp>

#include "sync/sync_testing.h"

namespace podmirror::sync {
namespace {

// A ready daemon, and a synced peer with a link to it.
struct Fixture {
  Fixture() : node(OptionsOf(1)), peer(2, node) { node.StartAlone(); }
  // Returns the stream of our link, after the pass that each connection begins with.
  ConnId Connect() {
    node.driver.SetPeers(SetOf({2}));
    const ConnId conn = peer.Open(node);
    peer.Serve(node, conn);
    return conn;
  }

  TestNode node;
  FakePeer peer;
};

TEST_CASE("a draining daemon takes no writes of clients, but those of peers") {
  Fixture f;
  ConnId inbound = 0;
  f.peer.SayHello(f.node, &inbound);
  f.node.driver.BeginDrain();
  CHECK(f.node.Put("k", "v") == WriteRefusal::kDraining);
  CHECK_FALSE(f.node.driver.ready());
  CHECK(f.node.driver.Status().state == NodeState::kDraining);
  f.node.driver.Receive(inbound, Batch{1, 1, {Entry::Make(1, "k", "v", {HlcOf(kStartWall), 2})}});
  CHECK(f.node.Has("k"));
  CHECK(Find<Ack>(f.node.Pull(inbound)));
}

TEST_CASE("a daemon that is about to drain asks for what is not sent to it any more") {
  Fixture f;
  FakePeer younger(3, f.node);
  f.node.driver.SetPeers(SetOf({2, 3}));
  const ConnId conn = f.peer.Open(f.node);
  const ConnId other = younger.Open(f.node);
  f.peer.Serve(f.node, conn);
  younger.Serve(f.node, other);
  f.node.Run(1000);
  f.peer.cache.Merge(Entry::Make(1, "k", "v", {HlcOf(kStartWall), 2}), kStartWall);
  f.peer.Serve(f.node, conn);
  CHECK_FALSE(f.node.Has("k"));
  f.node.driver.Leave();
  CHECK_FALSE(f.node.driver.ready());
  CHECK(f.node.driver.Status().state == NodeState::kDraining);
  f.node.Run(300);
  CHECK_FALSE(Find<SumsRequest>(f.node.Pull(other)));  // one of them is enough
  f.peer.Serve(f.node, conn);
  CHECK(f.node.Has("k"));
  CHECK(f.node.Put("mine", "v") == WriteRefusal::kNone);
}

TEST_CASE("a joiner that is terminated hands over what peers have left to it") {
  TestNode node(OptionsOf(3));
  FakePeer lost(1, node);
  FakePeer stays(2, node);
  node.driver.SetPeers(SetOf({1, 2}));
  ConnId inbound = 0;
  lost.SayHello(node, &inbound);
  const ConnId to_stays = stays.Open(node);
  const EntryRef entry = Entry::Make(1, "k", "v", {HlcOf(kStartWall), 1});
  node.driver.Receive(inbound, Batch{1, 1, {entry}});
  REQUIRE(Find<Ack>(node.Pull(inbound)));
  node.driver.Closed(inbound, {Code::kUnavailable, "reset"});
  node.driver.BeginDrain();
  CHECK_FALSE(node.driver.drained());
  for (int i = 0; i < 20 && !node.driver.drained(); ++i) {
    stays.Serve(node, to_stays);
    node.Run(100);
  }
  CHECK(stays.cache.Find(1, "k", kStartWall));
}

TEST_CASE("what came on a stream that fell silent is handed over, too") {
  Fixture f;
  FakePeer slow(3, f.node);
  const FakePeer unlisted(4, f.node);
  f.node.driver.SetPeers(SetOf({2, 3}));
  const ConnId conn = f.peer.Open(f.node);
  const ConnId to_slow = slow.Open(f.node);
  f.peer.Serve(f.node, conn);
  slow.Serve(f.node, to_slow);
  ConnId inbound = 0;
  unlisted.SayHello(f.node, &inbound);
  f.node.driver.Receive(inbound, Heartbeat{HlcOf(kStartWall)});
  slow.acks = false;  // so that the drain goes on
  f.node.Put("mine", "v");
  f.node.driver.BeginDrain();
  f.peer.Serve(f.node, conn);
  slow.Serve(f.node, to_slow);
  f.node.driver.Receive(inbound, Batch{1, 1, {Entry::Make(1, "k", "v", {HlcOf(kStartWall), 4})}});
  for (int i = 0; i < 60; ++i) {
    f.node.Run(100);
    f.peer.Serve(f.node, conn);
    slow.Serve(f.node, to_slow);
  }
  REQUIRE(f.node.transport.closed.contains(inbound));
  f.node.driver.Closed(inbound, {Code::kUnavailable, "closed"});
  f.node.driver.Receive(to_slow, Ack{1});
  for (int i = 0; i < 50 && !f.node.driver.drained(); ++i) {
    f.peer.Serve(f.node, conn);
    f.node.Run(100);
  }
  REQUIRE(f.node.driver.drained());
  CHECK(f.peer.cache.Find(1, "k", kStartWall));
}

TEST_CASE("without a reachable peer there is nobody to hand over to") {
  Fixture f;
  f.node.driver.BeginDrain();
  CHECK(f.node.driver.drained());
  CHECK(f.node.Saw(EventKind::kDraining));
}

TEST_CASE("what is handed to a peer that drains, too, is not handed over while another stays") {
  Fixture f;
  FakePeer stays(3, f.node);
  f.node.driver.SetPeers(SetOf({2, 3}));
  const ConnId conn = f.peer.Open(f.node);
  const ConnId other = stays.Open(f.node);
  f.peer.draining = true;
  f.peer.Serve(f.node, conn);
  stays.Serve(f.node, other);
  f.node.Put("k", "v");
  stays.answers = false;
  f.node.driver.BeginDrain();
  const auto serve = [&] {
    f.peer.Serve(f.node, conn);
    stays.Serve(f.node, other);
  };
  serve();
  CHECK_FALSE(f.node.driver.drained());
  SECTION("the other one has it") {
    stays.answers = true;
    for (int i = 0; i < 11; ++i) {  // what it did not answer is asked anew
      f.node.Run(1000);
      serve();
    }
    CHECK(f.node.driver.drained());
  }
  SECTION("the other one is about to end as well") {
    stays.draining = true;
    f.node.Run(1000);
    serve();
    CHECK(f.node.driver.drained());
  }
}

TEST_CASE("an old service has a write when it has answered its batch, and not before") {
  Fixture f;
  f.node.driver.SetPeers(SetOf({2}));
  f.peer.legacy = true;
  const ConnId conn = f.peer.Open(f.node);
  f.peer.Serve(f.node, conn);
  f.node.Put("k", "v");
  f.peer.acks = false;
  f.node.driver.BeginDrain();
  f.peer.Serve(f.node, conn);
  CHECK_FALSE(f.node.driver.drained());
  f.node.driver.Receive(conn, Ack{1, {}});
  CHECK(f.node.driver.drained());
}

TEST_CASE("an old service that is being dialled anew is waited for, as nobody else tells it") {
  Fixture f;
  FakePeer other(3, f.node);
  f.node.driver.SetPeers(SetOf({2, 3}));
  f.peer.legacy = other.legacy = true;
  const ConnId conn = f.peer.Open(f.node);
  other.Open(f.node);
  f.node.Put("k", "v");
  f.node.driver.Closed(f.node.DialledTo(other.id), {Code::kUnavailable, "reset"});
  f.node.driver.BeginDrain();
  f.peer.Serve(f.node, conn);
  f.node.Run(100);
  f.peer.Serve(f.node, conn);  // now this one has been told all
  CHECK_FALSE(f.node.driver.drained());
  SECTION("it comes back") {
    other.Serve(f.node, other.Open(f.node));
    f.node.Run(100);
    f.peer.Serve(f.node, conn);
    CHECK(f.node.driver.drained());
    CHECK(other.cache.Find(1, "k", f.node.env.now().wall));
  }
  SECTION("it refuses every attempt") {
    for (int i = 0; i < 50; ++i) {
      f.node.driver.Closed(f.node.DialledTo(other.id), {Code::kUnavailable, "refused"});
      f.node.Run(100);
      f.peer.Serve(f.node, conn);
    }
    CHECK(f.node.driver.drained());
  }
}

TEST_CASE("an old service is told what others have left to us, as nobody else tells it") {
  Fixture f;
  f.node.driver.SetPeers(SetOf({2}));
  f.peer.legacy = true;
  const ConnId conn = f.peer.Open(f.node);
  f.peer.Serve(f.node, conn);
  const FakePeer gone(3, f.node);
  ConnId inbound = 0;
  gone.SayHello(f.node, &inbound);
  f.node.driver.Receive(inbound, Batch{1, 1, {Entry::Make(1, "k", "v", {HlcOf(kStartWall), 3})}});
  f.node.driver.Closed(inbound, {Code::kUnavailable, "reset"});
  f.node.driver.BeginDrain();
  CHECK_FALSE(f.node.driver.drained());
  f.peer.Serve(f.node, conn);
  CHECK(f.node.driver.drained());
  CHECK(f.peer.cache.Find(1, "k", f.node.env.now().wall));
}

TEST_CASE("what a peer that drains, too, leaves to us is handed on") {
  Fixture f;
  FakePeer stays(3, f.node);
  f.node.driver.SetPeers(SetOf({2, 3}));
  ConnId inbound = 0;
  f.peer.SayHello(f.node, &inbound);
  const ConnId conn = stays.Open(f.node);
  stays.Serve(f.node, conn);
  const auto last = [&](bool draining) {
    Heartbeat heartbeat{HlcOf(f.node.env.now().wall)};
    heartbeat.draining = draining;
    f.node.driver.Receive(inbound, heartbeat);
    f.node.driver.Receive(inbound, Batch{1, 1, {Entry::Make(1, "k", "v", {HlcOf(kStartWall), 2})}});
  };
  f.node.driver.BeginDrain();
  stays.Serve(f.node, conn);
  REQUIRE(f.node.driver.drained());
  SECTION("it drains") {
    last(true);
    CHECK_FALSE(f.node.driver.drained());
    f.node.Run(1000);
    stays.Serve(f.node, conn);
    CHECK(f.node.driver.drained());
    CHECK(stays.cache.Find(1, "k", f.node.env.now().wall));
  }
  SECTION("it stays, and brings it to the others itself") {
    last(false);
    CHECK(f.node.driver.drained());
  }
  SECTION("it is lost before it can") {
    last(false);
    f.node.driver.Closed(inbound, {Code::kUnavailable, "reset"});
    CHECK_FALSE(f.node.driver.drained());
  }
}

TEST_CASE("a drain flushes the backlog and makes one pass with a synced peer") {
  Fixture f;
  const ConnId conn = f.Connect();
  f.node.Put("k", "v");
  f.node.driver.BeginDrain();
  CHECK_FALSE(f.node.driver.drained());
  SECTION("both done") {
    f.peer.Serve(f.node, conn);
    CHECK(f.node.driver.drained());
    CHECK(f.peer.cache.digest() == f.node.cache.digest());
  }
  SECTION("flushed only") {
    f.peer.answers = false;
    f.peer.Serve(f.node, conn);
    CHECK(f.peer.cache.Find(1, "k", f.node.env.now().wall));
    CHECK_FALSE(f.node.driver.drained());
  }
  SECTION("passed only") {
    f.peer.acks = false;
    f.peer.Serve(f.node, conn);
    CHECK_FALSE(f.node.driver.drained());
  }
  SECTION("the peer is lost, and is not there any more") {
    f.node.driver.Closed(conn, {Code::kUnavailable, "reset"});
    CHECK_FALSE(f.node.driver.drained());
    f.node.Run(1000);
    const ConnId again = f.node.DialledTo(f.peer.id);
    REQUIRE(again != conn);
    f.node.driver.Closed(again, {Code::kUnavailable, "connection refused"});
    CHECK_FALSE(f.node.driver.drained());  // it may have been one reset, or a container that starts
    for (int i = 0; i < 100 && !f.node.driver.drained(); ++i) {
      f.node.Run(100);
      const ConnId next = f.node.DialledTo(f.peer.id);
      f.node.driver.Closed(next, {Code::kUnavailable, "connection refused"});
    }
    CHECK(f.node.driver.drained());
  }
  SECTION("the peer is silent: nobody knows whether it is there") {
    f.node.driver.Closed(conn, {Code::kUnavailable, "reset"});
    f.node.Run(10'000);
    CHECK_FALSE(f.node.driver.drained());
  }
  SECTION("one reset after a silence is no word that nobody is there") {
    f.node.driver.Closed(conn, {Code::kUnavailable, "reset"});
    f.node.Run(20'000);  // it is dialled seldom by now
    ConnId dialled = 0;
    for (int i = 0; i < 100 && dialled == 0; ++i) {
      f.node.Run(100);
      dialled = f.node.DialledTo(f.peer.id);
    }
    REQUIRE(dialled != 0);
    f.node.driver.Closed(dialled, {Code::kUnavailable, "reset"});
    for (int i = 0; i < 100; ++i) {
      f.node.Run(100);
      REQUIRE_FALSE(f.node.driver.drained());
    }
  }
  SECTION("the peer is lost for a moment") {
    f.node.driver.Closed(conn, {Code::kUnavailable, "reset"});
    f.node.Run(1000);
    f.peer.Serve(f.node, f.peer.Open(f.node));
    CHECK(f.node.driver.drained());
    CHECK(f.peer.cache.digest() == f.node.cache.digest());
  }
}

TEST_CASE("the pass of a drain begins when the batches are there, and does not bring them again") {
  Fixture f;
  const ConnId conn = f.Connect();
  f.node.Put("k", "v");
  f.peer.acks = false;
  f.node.driver.BeginDrain();
  f.node.Run(100);
  const std::vector<Message> sent = f.node.Pull(conn);
  REQUIRE(Find<Batch>(sent));
  CHECK_FALSE(Find<SumsRequest>(sent));
  f.node.driver.Receive(conn, Ack{1, {}});
  CHECK(Find<SumsRequest>(f.node.Pull(conn)));
}

TEST_CASE("a pass that runs already when the drain begins is followed by the drain's own") {
  Fixture f;
  const ConnId conn = f.Connect();
  // Heartbeats keep the link alive until the next periodic pass has sent its first request.
  std::optional<SumsRequest> asked;
  for (int i = 0; i < 1000 && !asked; ++i) {
    f.node.Run(25);
    for (Message& message : f.node.Pull(conn)) {
      if (const auto* sums = std::get_if<SumsRequest>(&message)) {
        asked = *sums;
      } else if (auto reply = f.peer.Answer(f.node, message)) {
        f.node.driver.Receive(conn, std::move(*reply));
      }
    }
  }
  REQUIRE(asked);
  f.node.Run(25);
  f.node.driver.BeginDrain();
  f.node.driver.Receive(conn, AnswerSums(f.peer.cache, *asked));
  CHECK_FALSE(f.node.driver.drained());
  f.peer.Serve(f.node, conn);
  CHECK(f.node.driver.drained());
}

TEST_CASE("a drain does not end while the only peer is still copying from us") {
  Fixture f;
  f.node.Put("k", "v");
  f.peer.intro.synced = false;
  f.node.driver.SetPeers(SetOf({2}));
  const ConnId conn = f.peer.Open(f.node);
  ConnId inbound = 0;
  f.peer.SayHello(f.node, &inbound);
  f.peer.Serve(f.node, conn);
  f.node.driver.BeginDrain();
  CHECK_FALSE(f.node.driver.drained());
  f.node.driver.Receive(inbound, Fetch{});
  const auto chunk = Find<FetchReply>(f.node.Pull(inbound));
  REQUIRE(chunk);
  f.peer.Merge(f.node, chunk->entries);
  f.peer.intro.synced = true;
  f.node.Run(2000);
  f.peer.Serve(f.node, conn);
  CHECK(f.node.driver.drained());
}

}  // namespace
}  // namespace podmirror::sync
