// Who is let in, what is taken from whom, and what a broken peer gets.
#include <catch2/catch.hpp>

#include "sync/sync_testing.h"

namespace podmirror::sync {
namespace {

// A daemon that is ready and holds one entry.
struct Fixture {
  Fixture() : node(OptionsOf(1)), peer(2, node) {
    node.StartAlone();
    REQUIRE(node.driver.ready());
    node.Put("k", "v");
  }
  LinkState StateOfPeer() const { return node.driver.Peers().at(0).state; }
  // A batch that the peer made of one write.
  Batch BatchOf(const std::string& key, std::uint64_t hlc) const {
    return {1, 1, {Entry::Make(1, key, "v", {hlc, peer.intro.incarnation})}};
  }
  std::uint64_t TooFarAhead() const { return HlcOf(node.env.now().wall + kMaxSkewMs + 1); }

  TestNode node;
  FakePeer peer;
};

struct Wrong {
  std::string what;
  RefusalReason reason;
  std::function<void(Introduction&, const TestNode&)> change;
};

const std::vector<Wrong> kWrongs = {
    {"another cluster", RefusalReason::kOtherCluster,
     [](Introduction& intro, const TestNode&) { intro.cluster = "prod/other"; }},
    {"a protocol version two ahead", RefusalReason::kProtocol,
     [](Introduction& intro, const TestNode&) { intro.protocol = kProtocolVersion + 2; }},
    {"a clock more than 24 h ahead", RefusalReason::kClockSkew,
     [](Introduction& intro, const TestNode& node) {
       intro.hlc = HlcOf(node.env.now().wall + kMaxSkewMs + 1);
     }},
    {"ourselves", RefusalReason::kSelf,
     [](Introduction& intro, const TestNode& node) {
       intro.incarnation = node.driver.Status().incarnation;
     }},
};

TEST_CASE("an accepted hello is answered with who we are") {
  Fixture f;
  const auto reply = f.peer.SayHello(f.node);
  REQUIRE(reply);
  CHECK(reply->refusal == RefusalReason::kNone);
  CHECK(reply->self.uid == "uid-1");
  CHECK(reply->self.cluster == "default/test");
  CHECK(reply->self.incarnation == f.node.driver.Status().incarnation);
  CHECK(reply->self.synced);
  CHECK(reply->self.entries == 1);
  CHECK(reply->self.hlc >= HlcOf(kStartWall));
  CHECK_FALSE(reply->link_open);
}

TEST_CASE("a dialler that is wrong is refused, told why, and cannot write") {
  Fixture f;
  for (const Wrong& wrong : kWrongs) {
    INFO(wrong.what);
    FakePeer peer(2, f.node);
    wrong.change(peer.intro, f.node);
    ConnId conn = 0;
    const auto reply = peer.SayHello(f.node, &conn);
    REQUIRE(reply);
    CHECK(reply->refusal == wrong.reason);
    CHECK_FALSE(reply->detail.empty());
    f.node.driver.Receive(conn, f.BatchOf("evil", HlcOf(kStartWall)));
    CHECK_FALSE(f.node.Has("evil"));
    CHECK(f.node.transport.closed.contains(conn));
  }
  FakePeer old(2, f.node);
  old.intro.protocol = kProtocolVersion - 1;
  CHECK(old.SayHello(f.node)->refusal == RefusalReason::kNone);
}

TEST_CASE("a dialler that looks for another pod is refused") {
  Fixture f;
  const ConnId conn = f.node.driver.Accept();
  f.node.driver.Receive(conn, Hello{f.peer.intro, "uid-of-the-dead"});
  const auto reply = Find<HelloReply>(f.node.Pull(conn));
  REQUIRE(reply);
  CHECK(reply->refusal == RefusalReason::kOtherUid);
}

TEST_CASE("an acceptor that is wrong is refused, and no stream is kept") {
  for (const Wrong& wrong : kWrongs) {
    if (wrong.reason == RefusalReason::kSelf) continue;
    INFO(wrong.what);
    Fixture f;
    f.node.driver.SetPeers(SetOf({2}));
    wrong.change(f.peer.intro, f.node);
    const ConnId conn = f.peer.Open(f.node);
    CHECK(f.node.transport.closed.contains(conn));
    CHECK(f.StateOfPeer() == LinkState::kRefused);
    CHECK_FALSE(f.node.driver.Peers().at(0).error.empty());
    CHECK(f.node.Saw(EventKind::kPeerRefused));
    CHECK(f.node.Pull(conn).empty());
  }
}

TEST_CASE("another pod at the address of a peer is refused") {
  Fixture f;
  f.node.driver.SetPeers(SetOf({2}));
  f.peer.intro.uid = "uid-3";
  f.peer.Open(f.node);
  CHECK(f.StateOfPeer() == LinkState::kRefused);
}

TEST_CASE("a refusal by the peer is shown, and tried again later") {
  Fixture f;
  f.node.driver.SetPeers(SetOf({2}));
  const ConnId conn = f.node.DialledTo("uid-2");
  f.node.driver.Opened(conn);
  (void)f.node.Pull(conn);
  HelloReply reply;
  reply.refusal = RefusalReason::kOtherCluster;
  reply.detail = "you are of another cluster";
  f.node.driver.Receive(conn, reply);
  CHECK(f.StateOfPeer() == LinkState::kRefused);
  CHECK(f.node.driver.Peers().at(0).error == "it refuses us, saying: you are of another cluster");
  for (int i = 0; i < 100 && f.node.DialledTo("uid-2") == conn; ++i) f.node.Run(100);
  REQUIRE(f.node.DialledTo("uid-2") != conn);
  f.peer.Open(f.node);
  CHECK(f.StateOfPeer() != LinkState::kRefused);
}

TEST_CASE("a peer of another cluster is no peer: no acknowledgement counts it") {
  Fixture f;
  f.node.driver.SetPeers(SetOf({2}));
  f.peer.intro.cluster = "prod/other";
  f.peer.Open(f.node);
  std::optional<WriteOutcome> told;
  f.node.Put("k", "v2", {AckLevel::kAll, 1000}, [&](const WriteOutcome& o) { told = o; });
  REQUIRE(told);
  CHECK(told->met);
  CHECK(told->peers == 0);
}

TEST_CASE("a refused peer is not waited for") {
  Fixture f;
  f.node.driver.SetPeers(SetOf({2}));
  f.peer.intro.uid = "uid-3";
  f.peer.Open(f.node);
  std::optional<WriteOutcome> told;
  f.node.Put("k", "v2", {AckLevel::kAll, 1000}, [&](const WriteOutcome& o) { told = o; });
  REQUIRE(told);
  CHECK_FALSE(told->met);
  CHECK(told->pending == std::vector<std::string>{"pod-2"});
}

TEST_CASE("our own process met through another address is not a peer") {
  Fixture f;
  f.node.driver.SetPeers(SetOf({2}));
  f.peer.intro.incarnation = f.node.driver.Status().incarnation;
  const ConnId conn = f.peer.Open(f.node);
  CHECK(f.node.transport.closed.contains(conn));
  CHECK(f.node.driver.Peers().empty());
  CHECK_FALSE(f.node.Saw(EventKind::kPeerRefused));
  std::optional<WriteOutcome> told;
  f.node.Put("k", "v2", {AckLevel::kAll, 1000}, [&](const WriteOutcome& o) { told = o; });
  REQUIRE(told);
  CHECK(told->met);
}

TEST_CASE("a peer met through a second address is counted once") {
  Fixture f;
  PeerSet set;
  set.self_listed = true;
  for (const std::uint16_t port : {1, 2}) {
    PodRecord record;  // as from static addresses
    record.name = "host:" + std::to_string(port);
    record.ip = "sim";
    record.port = port;
    set.peers.push_back(record);
  }
  f.node.driver.SetPeers(set);
  f.peer.id = "sim:1";
  f.peer.Open(f.node);
  f.peer.id = "sim:2";
  f.peer.Open(f.node);
  REQUIRE(f.node.driver.Peers().size() == 1);
  CHECK(f.node.driver.Peers()[0].record.name == "host:1");
}

TEST_CASE("before a handshake nothing is taken, and the stream is closed") {
  Fixture f;
  const EntryRef entry = Entry::Make(1, "evil", "v", {HlcOf(kStartWall), 9});
  const std::vector<Message> early = {Batch{1, 1, {entry}},
                                      Push{1, {entry}},
                                      OfferReply{1, {entry}, {}, 0, {}, 0, {}},
                                      FetchReply{false, {entry}, {}, true},
                                      Heartbeat{},
                                      SumsRequest{1, {}},
                                      Offer{1, {0}, {}},
                                      Fetch{},
                                      Ack{1},
                                      HelloReply{}};
  for (std::size_t i = 0; i < early.size(); ++i) {
    CAPTURE(i);
    const ConnId conn = f.node.driver.Accept();
    f.node.driver.Receive(conn, early[i]);
    CHECK(f.node.transport.closed.contains(conn));
    CHECK(f.node.Pull(conn).empty());
  }
  CHECK_FALSE(f.node.Has("evil"));
}

TEST_CASE("an inbound stream without a hello is closed") {
  Fixture f;
  const ConnId conn = f.node.driver.Accept();
  f.node.Run(kSessionHelloMs);
  CHECK_FALSE(f.node.transport.closed.contains(conn));
  f.node.Run(100);
  CHECK(f.node.transport.closed.contains(conn));
}

TEST_CASE("an inbound stream that falls silent is closed") {
  Fixture f;
  ConnId conn = 0;
  f.peer.SayHello(f.node, &conn);
  f.node.Run(kSilenceMs);
  CHECK_FALSE(f.node.transport.closed.contains(conn));
  f.node.Run(100);
  CHECK(f.node.transport.closed.contains(conn));
}

TEST_CASE("more questions than may be open close the stream") {
  Fixture f;
  ConnId conn = 0;
  f.peer.SayHello(f.node, &conn);
  for (std::size_t i = 0; i < kMaxQuestions; ++i) f.node.driver.Receive(conn, SumsRequest{i, {}});
  CHECK_FALSE(f.node.transport.closed.contains(conn));
  SECTION("one more") {
    f.node.driver.Receive(conn, Fetch{});
    CHECK(f.node.transport.closed.contains(conn));
  }
  SECTION("answered ones do not count") {
    CHECK(f.node.Pull(conn).size() == kMaxQuestions);
    f.node.driver.Receive(conn, Fetch{});
    CHECK_FALSE(f.node.transport.closed.contains(conn));
  }
}

TEST_CASE("writes of a dialler are merged, then acknowledged") {
  Fixture f;
  ConnId conn = 0;
  f.peer.SayHello(f.node, &conn);
  Batch batch = f.BatchOf("k2", HlcOf(kStartWall) + 5);
  batch.first_seq = batch.last_seq = 17;
  f.node.driver.Receive(conn, batch);
  CHECK(f.node.Has("k2"));
  const auto ack = Find<Ack>(f.node.Pull(conn));
  REQUIRE(ack);
  CHECK(ack->seq == 17);
}

TEST_CASE("a write of ours is newer than all that we have taken") {
  Fixture f;
  ConnId conn = 0;
  f.peer.SayHello(f.node, &conn);
  const std::uint64_t ahead = HlcOf(kStartWall + 3'600'000);
  f.node.driver.Receive(conn, f.BatchOf("k", ahead));
  f.node.Put("k", "mine");
  CHECK(f.node.cache.Peek(1, "k")->version().hlc > ahead);
}

TEST_CASE("a version more than 24 h ahead is not taken, and its link is refused") {
  Fixture f;
  const EntryRef entry = Entry::Make(1, "evil", "v", {f.TooFarAhead(), 9});
  SECTION("from a dialler") {
    ConnId conn = 0;
    f.peer.SayHello(f.node, &conn);
    SECTION("batch") { f.node.driver.Receive(conn, Batch{1, 1, {entry}}); }
    SECTION("push") { f.node.driver.Receive(conn, Push{1, {entry}}); }
    SECTION("heartbeat") {
      f.node.driver.Receive(conn, Heartbeat{f.TooFarAhead(), 0, 0, 0, true, false});
    }
    CHECK(f.node.transport.closed.contains(conn));
  }
  SECTION("from an acceptor") {
    f.node.driver.SetPeers(SetOf({2}));
    const ConnId conn = f.peer.Open(f.node);
    REQUIRE(Find<SumsRequest>(f.node.Pull(conn)));
    SECTION("offer reply") {
      f.node.driver.Receive(conn, OfferReply{1, {entry}, {}, 0, {}, 0, {}});
    }
    SECTION("heartbeat") {
      f.node.driver.Receive(conn, Heartbeat{f.TooFarAhead(), 0, 0, 0, true, false});
    }
    CHECK(f.node.transport.closed.contains(conn));
    CHECK(f.StateOfPeer() == LinkState::kRefused);
  }
  CHECK_FALSE(f.node.Has("evil"));
  CHECK(f.node.driver.Status().hlc < f.TooFarAhead());
}

TEST_CASE("an acceptor that sends what only a dialler may is refused") {
  Fixture f;
  f.node.driver.SetPeers(SetOf({2}));
  const ConnId conn = f.peer.Open(f.node);
  f.node.driver.Receive(conn, f.BatchOf("evil", HlcOf(kStartWall)));
  CHECK_FALSE(f.node.Has("evil"));
  CHECK(f.StateOfPeer() == LinkState::kRefused);
}

TEST_CASE("a hello of an unknown pod of our cluster asks for a new list, a known one does not") {
  Fixture f;
  int asked = 0;
  f.node.driver.set_on_unknown_peer([&] { ++asked; });
  CHECK(f.peer.SayHello(f.node)->refusal == RefusalReason::kNone);
  CHECK(asked == 1);
  CHECK(f.node.driver.Peers().empty());
  f.node.driver.SetPeers(SetOf({2}));
  f.peer.SayHello(f.node);
  CHECK(asked == 1);
  f.peer.intro.cluster = "prod/other";
  f.peer.SayHello(f.node);
  CHECK(asked == 1);
}

TEST_CASE("messages and ends of streams that nobody knows are ignored") {
  Fixture f;
  f.node.driver.Receive(4711, f.BatchOf("evil", HlcOf(kStartWall)));
  f.node.driver.Closed(4711, {Code::kUnavailable, "reset"});
  f.node.driver.Opened(4711);
  CHECK_FALSE(f.node.driver.Next(4711));
  CHECK_FALSE(f.node.Has("evil"));
}

TEST_CASE(
    "a peer whose certificate is refused is shown as such, once, and tried again with others") {
  Fixture f;
  f.node.driver.SetPeers(SetOf({2}));
  const Status refusal(Code::kRefused, "no authority in tls-ca has signed it");
  f.node.driver.Closed(f.node.DialledTo("uid-2"), refusal);
  CHECK(f.StateOfPeer() == LinkState::kRefused);
  CHECK(f.node.driver.Peers().at(0).error == refusal.message());
  f.node.Run(kRefusedBackoffMs / 4);
  const ConnId before = f.node.DialledTo("uid-2");
  f.node.driver.CredentialsChanged();
  f.node.Run(100);
  const ConnId again = f.node.DialledTo("uid-2");
  CHECK(again != before);
  f.node.driver.Closed(again, refusal);
  CHECK(std::count_if(f.node.events.begin(), f.node.events.end(), [](const Event& event) {
          return event.kind == EventKind::kPeerRefused;
        }) == 1);
}

TEST_CASE("a stuck handshake and a silent peer are given up") {
  Fixture f;
  f.node.driver.SetPeers(SetOf({2}));
  const ConnId conn = f.node.DialledTo("uid-2");
  f.node.Run(kHandshakeMs + 100);
  CHECK(f.node.transport.closed.contains(conn));
  f.node.Run(1000);
  const ConnId second = f.peer.Open(f.node);
  CHECK(second != conn);
  f.node.Run(kSilenceMs + 100);  // a pass awaits its answer
  CHECK(f.node.transport.closed.contains(second));
  CHECK(f.node.Saw(EventKind::kPeerLost));
}

TEST_CASE("a stream that opens after it was given up is closed") {
  Fixture f;
  f.node.driver.SetPeers(SetOf({2}));
  const ConnId conn = f.node.DialledTo("uid-2");
  f.node.driver.SetPeers(SetOf({}));
  f.node.transport.closed.clear();  // the close overtook the dial and found nothing
  f.node.driver.Opened(conn);
  CHECK(f.node.transport.closed.contains(conn));
}

TEST_CASE("a link to the dead run of a peer is not told to its next run as open") {
  Fixture f;
  f.node.driver.SetPeers(SetOf({2}));
  f.peer.Open(f.node);
  f.peer.intro.incarnation += 1;
  f.peer.intro.synced = false;
  const auto reply = f.peer.SayHello(f.node);
  REQUIRE(reply);
  CHECK_FALSE(reply->link_open);
}

}  // namespace
}  // namespace podmirror::sync
