// Writes through the driver: who is waited for, what is refused, what travels.
#include <catch2/catch.hpp>
#include <thread>

#include "sync/sync_testing.h"

namespace podmirror::sync {
namespace {

using Names = std::vector<std::string>;

// A ready daemon, and a synced peer with a link to it.
struct Fixture {
  explicit Fixture(const NodeOptions& options = OptionsOf(1)) : node(options), peer(2, node) {
    node.StartAlone();
    REQUIRE(node.driver.ready());
  }
  // Returns the stream of our link, after the pass that each connection begins with.
  ConnId Connect() {
    node.driver.SetPeers(SetOf({2}));
    const ConnId conn = peer.Open(node);
    peer.Serve(node, conn);
    return conn;
  }
  void Write(const std::string& key, AckLevel ack = AckLevel::kAll,
             std::int64_t timeout_ms = 1000) {
    node.Put(key, "v", {ack, timeout_ms}, [this](const WriteOutcome& o) { outcomes.push_back(o); });
  }
  PeerStatus StatusOfPeer() const { return node.driver.Peers().at(0); }

  TestNode node;
  FakePeer peer;
  std::vector<WriteOutcome> outcomes;
};

TEST_CASE("before it is ready a daemon takes no write, and says why") {
  TestNode node(OptionsOf(1));
  CHECK(node.Put("k", "v") == WriteRefusal::kNotReady);
  node.driver.DiscoveryFailed("etcd: connection refused");
  node.driver.Tick();
  CHECK(node.driver.Status().reason == "etcd: connection refused");
  CHECK(node.cache.Stats().entries == 0);
  node.StartAlone();
  CHECK(node.driver.Status().reason.empty());
  CHECK(node.Put("k", "v") == WriteRefusal::kNone);
}

TEST_CASE("a set that does not list ourselves is not believed") {
  TestNode node(OptionsOf(1));
  PeerSet set = SetOf({});
  set.self_listed = false;
  set.where = "/registry/pods/wrong";
  node.driver.SetPeers(set);
  node.Run(60'000);
  CHECK_FALSE(node.driver.ready());
  CHECK(node.driver.Status().reason ==
        "own pod not found under /registry/pods/wrong: check that path, service, pod-name");
  node.StartAlone();
  CHECK(node.driver.ready());
}

TEST_CASE("a set that has lost ourselves does not take the peers away") {
  Fixture f;
  f.Connect();
  PeerSet set = SetOf({});
  set.self_listed = false;
  f.node.driver.SetPeers(set);
  CHECK(f.node.driver.Peers().size() == 1);
  CHECK(f.node.driver.ready());
}

TEST_CASE("a write is acknowledged once the peer has it") {
  Fixture f;
  const ConnId conn = f.Connect();
  f.Write("k");
  CHECK(f.outcomes.empty());
  CHECK(f.node.transport.woken.contains(conn));
  f.peer.Serve(f.node, conn);
  REQUIRE(f.outcomes.size() == 1);
  CHECK(f.outcomes[0].met);
  CHECK(f.outcomes[0].acked == 1);
  CHECK(f.peer.cache.Find(1, "k", f.node.env.now().wall));
  CHECK(f.StatusOfPeer().acked_seq == 1);
  CHECK(f.StatusOfPeer().behind_entries == 0);
}

TEST_CASE("what gathers while a batch is in flight goes as one batch") {
  Fixture f;
  const ConnId conn = f.Connect();
  f.Write("a");
  const auto first = Find<Batch>(f.node.Pull(conn));
  REQUIRE(first);
  f.Write("b");
  f.Write("c");
  CHECK_FALSE(Find<Batch>(f.node.Pull(conn)));
  f.node.driver.Receive(conn, Ack{first->last_seq});
  const auto second = Find<Batch>(f.node.Pull(conn));
  REQUIRE(second);
  CHECK(second->first_seq == 2);
  CHECK(second->last_seq == 3);
  CHECK(f.outcomes.size() == 1);
}

TEST_CASE("a peer that hangs costs a timeout while it is thought alive, and nothing after") {
  Fixture f;
  const ConnId conn = f.Connect();
  f.peer.acks = false;
  f.Write("a", AckLevel::kAll, 1000);
  f.peer.Serve(f.node, conn);
  f.node.Run(950);
  CHECK(f.outcomes.empty());
  f.node.Run(100);
  REQUIRE(f.outcomes.size() == 1);
  CHECK_FALSE(f.outcomes[0].met);
  CHECK(f.outcomes[0].pending == Names{"pod-2"});

  f.node.Run(kSilenceMs);
  f.Write("b", AckLevel::kAll, 1000);
  REQUIRE(f.outcomes.size() == 2);
  CHECK_FALSE(f.outcomes[1].met);
  CHECK(f.outcomes[1].pending == Names{"pod-2"});
  CHECK(f.StatusOfPeer().behind_entries == 2);
  CHECK(f.StatusOfPeer().state == LinkState::kConnecting);
}

TEST_CASE("a waiting write ends when the peer is lost or leaves the set") {
  Fixture f;
  const ConnId conn = f.Connect();
  f.Write("a", AckLevel::kAll, 100'000);
  SECTION("lost: not met") {
    f.node.driver.Closed(conn, {Code::kUnavailable, "reset"});
    REQUIRE(f.outcomes.size() == 1);
    CHECK_FALSE(f.outcomes[0].met);
  }
  SECTION("left: it does not count") {
    f.node.driver.SetPeers(SetOf({}));
    REQUIRE(f.outcomes.size() == 1);
    CHECK(f.outcomes[0].met);
    CHECK(f.outcomes[0].peers == 0);
    CHECK(f.node.transport.closed.contains(conn));
    CHECK(f.node.driver.Peers().empty());
  }
}

TEST_CASE("a peer that takes a write for dead has not acknowledged it") {
  Fixture f;
  const ConnId conn = f.Connect();
  f.Write("a");
  REQUIRE(Find<Batch>(f.node.Pull(conn)));
  f.node.driver.Receive(conn, Ack{1, {}});
  f.Write("b");
  f.Write("c");
  REQUIRE(Find<Batch>(f.node.Pull(conn)));
  f.node.driver.Receive(conn, Ack{3, {1}});  // the second of b and c
  REQUIRE(f.outcomes.size() == 3);
  CHECK(f.outcomes[0].met);
  CHECK_FALSE(f.outcomes[1].met);  // told first: it is not waited for any more
  CHECK(f.outcomes[1].pending == Names{"pod-2"});
  CHECK(f.outcomes[2].met);
}

TEST_CASE("what is dead here is not said to be stored") {
  Fixture f;
  ConnId inbound = 0;
  f.peer.SayHello(f.node, &inbound);
  f.node.cache.RaiseFloor(HlcOf(kStartWall) - 1);
  const EntryRef dead = Entry::Make(1, "dead", "v", {5, 2});
  const EntryRef gone = Entry::MakeTombstone(1, "gone", {6, 2});
  const EntryRef alive = Entry::Make(1, "alive", "v", {HlcOf(kStartWall), 2});
  f.node.driver.Receive(inbound, Batch{1, 3, {alive, dead, gone}});
  const auto ack = Find<Ack>(f.node.Pull(inbound));
  REQUIRE(ack);
  CHECK(ack->seq == 3);
  CHECK(ack->dead == std::vector<std::uint32_t>{1});
  CHECK(f.node.Has("alive"));
}

TEST_CASE(
    "an old service acknowledges no delete, whatever it was taken for when that was written") {
  TestNode node(OptionsOf(1));
  node.StartAlone();
  FakePeer peer(2, node);
  peer.legacy = true;
  node.driver.SetPeers(SetOf({2}));
  std::optional<WriteOutcome> told;
  const auto remove = [&] {
    node.Delete("k", {AckLevel::kAll, 1000}, [&](const WriteOutcome& o) { told = o; });
  };
  SECTION("it is met for the first time") {
    remove();
    CHECK_FALSE(told);
    peer.Open(node);
  }
  SECTION("it is being dialled anew") {
    node.driver.Closed(peer.Open(node), {Code::kUnavailable, "reset"});
    remove();
  }
  REQUIRE(told);
  CHECK(told->met);
  CHECK(told->peers == 0);
}

TEST_CASE("a peer that was started anew holds nothing until a pass has brought it") {
  Fixture f;
  const ConnId conn = f.Connect();
  f.Write("k");
  f.peer.Serve(f.node, conn);
  REQUIRE(f.StatusOfPeer().acked_seq == 1);
  f.node.driver.Closed(conn, {Code::kUnavailable, "reset"});
  for (int i = 0; i < 100 && f.node.DialledTo("uid-2") == conn; ++i) f.node.Run(25);
  f.peer.intro.incarnation += 1;
  f.peer.intro.synced = false;
  f.peer.Open(f.node);
  CHECK(f.StatusOfPeer().acked_seq == 0);
  CHECK(f.StatusOfPeer().behind_entries == 1);
}

TEST_CASE("a peer that comes back gets what it missed") {
  Fixture f;
  const ConnId conn = f.Connect();
  f.node.driver.Closed(conn, {Code::kUnavailable, "reset"});
  f.Write("k");
  for (int i = 0; i < 100 && f.node.DialledTo("uid-2") == conn; ++i) f.node.Run(25);
  SECTION("the same incarnation: from the backlog") {
    f.peer.answers = false;  // no pass helps
    f.peer.Serve(f.node, f.peer.Open(f.node));
  }
  SECTION("restarted and synced again: by a pass") {
    f.peer.intro.incarnation += 1;
    f.peer.Serve(f.node, f.peer.Open(f.node));
  }
  CHECK(f.peer.cache.Find(1, "k", f.node.env.now().wall));
}

TEST_CASE("a write that was waited for across a cursor jump is acknowledged by the pass") {
  NodeOptions options = OptionsOf(1);
  options.backlog_bytes = 1000;
  Fixture f(options);
  const ConnId conn = f.Connect();
  f.Write("first");
  const auto batch = Find<Batch>(f.node.Pull(conn));
  REQUIRE(batch);
  for (int i = 0; i < 50; ++i) f.Write("k" + std::to_string(i));
  CHECK(f.outcomes.empty());
  f.node.driver.Receive(conn, *f.peer.Answer(f.node, *batch));
  CHECK(f.outcomes.size() == 1);
  f.peer.Serve(f.node, conn);
  // The restart is healed by one pass: all writes are there, and all waits end.
  CHECK(f.peer.cache.digest() == f.node.cache.digest());
  CHECK(f.outcomes.size() == 51);
  for (const WriteOutcome& outcome : f.outcomes) CHECK(outcome.met);
  CHECK(f.StatusOfPeer().state == LinkState::kStreaming);
}

TEST_CASE("a local write is here only: its writer tells the others itself") {
  Fixture f;
  const ConnId conn = f.Connect();
  WriteItem item;
  item.type = 1;
  item.key = "local";
  item.value = "v";
  CHECK(f.node.driver.WriteLocal({&item, 1}) == WriteRefusal::kNone);
  CHECK(f.node.Has("local"));
  CHECK_FALSE(Find<Batch>(f.node.Pull(conn)));
  f.Write("shared");
  const auto batch = Find<Batch>(f.node.Pull(conn));
  REQUIRE(batch);
  CHECK(batch->entries.size() == 1);
  CHECK(batch->first_seq == 1);
}

TEST_CASE("many items are applied in order under rising versions, and told as one") {
  Fixture f;
  std::vector<WriteItem> items(3);
  for (WriteItem& item : items) item.type = 1;
  items[0].key = items[1].key = "twice";
  items[0].value = "old";
  items[1].value = "new";
  items[2].key = "gone";
  items[2].remove = true;
  std::optional<WriteOutcome> told;
  f.node.driver.Write(items, {}, [&](const WriteOutcome& o) { told = o; });
  REQUIRE(told);
  CHECK(f.node.cache.Peek(1, "twice")->value() == "new");
  CHECK(f.node.cache.Peek(1, "gone")->tombstone());
  CHECK(told->version == f.node.cache.Peek(1, "gone")->version());
}

TEST_CASE("a write of nothing waits for nobody") {
  Fixture f;
  const ConnId conn = f.Connect();
  f.Write("k");
  f.peer.Serve(f.node, conn);
  std::optional<WriteOutcome> told;
  f.node.driver.Write({}, {AckLevel::kAll, 1000}, [&](const WriteOutcome& o) { told = o; });
  f.peer.Serve(f.node, conn);
  REQUIRE(told);
  CHECK(told->met);
}

TEST_CASE("a time to live is kept as an instant, and expiry needs no writer") {
  Fixture f;
  WriteItem item;
  item.type = 1;
  item.key = "k";
  item.value = "v";
  item.ttl_ms = 5000;
  f.node.driver.Write({&item, 1}, {}, kIgnoreOutcome);
  const std::uint64_t digest = f.node.cache.digest();
  f.node.Run(4900);
  CHECK(f.node.Has("k"));
  f.node.Run(1000);
  CHECK_FALSE(f.node.Has("k"));
  CHECK(f.node.cache.Stats().tombstones == 1);
  CHECK(f.node.cache.digest() == digest);
}

// --- memory ---

TEST_CASE("at max-memory only what does not grow is taken from clients") {
  NodeOptions options = OptionsOf(1);
  options.max_memory = 100'000;
  Fixture f(options);
  ConnId inbound = 0;
  f.peer.SayHello(f.node, &inbound);
  int count = 0;
  while (f.node.Put("k" + std::to_string(count), std::string(1000, 'v')) == WriteRefusal::kNone) {
    REQUIRE(++count < 1000);
  }
  CHECK(count >= 80);
  CHECK(f.node.cache.memory_bytes() <= options.max_memory);
  SECTION("nothing of a refused write is applied, and nobody is told") {
    const CacheStats before = f.node.cache.Stats();
    CHECK(f.node.Put("new", std::string(1000, 'v')) == WriteRefusal::kOutOfMemory);
    CHECK(f.node.Put("k1", std::string(5000, 'v')) == WriteRefusal::kOutOfMemory);
    CHECK(f.node.cache.Stats().memory == before.memory);
  }
  SECTION("a put that does not grow is taken") {
    CHECK(f.node.Put("k1", std::string(1000, 'w')) == WriteRefusal::kNone);
    CHECK(f.node.Put("k1", "short") == WriteRefusal::kNone);
  }
  SECTION("a delete of a key held here is taken, and makes room") {
    for (int i = 0; i < 3; ++i) {
      CHECK(f.node.Delete("k" + std::to_string(i)) == WriteRefusal::kNone);
    }
    CHECK(f.node.Put("new", std::string(1000, 'v')) == WriteRefusal::kNone);
  }
  SECTION("merged entries are always taken, others have accepted them") {
    Batch batch;
    for (int i = 0; i < 100; ++i) {
      ++batch.last_seq;
      batch.entries.push_back(Entry::Make(1, "merged" + std::to_string(i), std::string(1000, 'v'),
                                          {HlcOf(kStartWall) + 9, f.peer.intro.incarnation}));
    }
    batch.first_seq = 1;
    f.node.driver.Receive(inbound, batch);
    CHECK(f.node.Has("merged99"));
    CHECK(Find<Ack>(f.node.Pull(inbound)));
    CHECK(f.node.cache.memory_bytes() > options.max_memory);
    CHECK(f.node.Delete("not held") == WriteRefusal::kOutOfMemory);
    CHECK(f.node.Delete("merged1") == WriteRefusal::kNone);
  }
}

TEST_CASE("a delete of a key held here is taken even when all memory is gone") {
  NodeOptions options = OptionsOf(1);
  options.max_memory = 1;
  Fixture f(options);
  ConnId inbound = 0;
  f.peer.SayHello(f.node, &inbound);
  f.node.driver.Receive(inbound, Batch{1, 1, {Entry::Make(1, "k", "v", {HlcOf(kStartWall), 2})}});
  CHECK(f.node.Put("k", "longer") == WriteRefusal::kOutOfMemory);
  CHECK(f.node.Put("k", "w") == WriteRefusal::kNone);
  CHECK(f.node.Delete("k") == WriteRefusal::kNone);
  CHECK(f.node.Delete("k") == WriteRefusal::kNone);  // its tombstone is there already
}

TEST_CASE("the lag of a peer that fell out of the backlog is that of the oldest write held") {
  NodeOptions options = OptionsOf(1);
  options.backlog_bytes = 1000;
  Fixture f(options);
  const ConnId conn = f.Connect();
  f.node.driver.Closed(conn, {Code::kUnavailable, "reset"});
  for (int i = 0; i < 50; ++i) f.Write("k" + std::to_string(i));
  f.node.env.Advance(2000);
  CHECK(f.StatusOfPeer().behind_entries == 50);
  CHECK(f.StatusOfPeer().lag_ms == 2000);
}

TEST_CASE("a peer is behind until a pass has brought what a cursor jump left out") {
  NodeOptions options = OptionsOf(1);
  options.backlog_bytes = 1000;
  Fixture f(options);
  const ConnId conn = f.Connect();
  // Its stream is open all the time; it does not acknowledge.
  f.peer.acks = false;
  for (int i = 0; i < 50; ++i) f.Write("k" + std::to_string(i));
  f.peer.answers = false;
  f.peer.Serve(f.node, conn);
  CHECK(f.StatusOfPeer().behind_entries == 50);
}

TEST_CASE("a stream so slow that a heartbeat is always due carries the rest, too") {
  Fixture f;
  const ConnId conn = f.Connect();
  f.Write("k");
  std::vector<Message> sent;
  for (int i = 0; i < 3; ++i) {
    f.node.env.Advance(2000);  // that long does each message take
    if (std::optional<Message> message = f.node.driver.Next(conn)) sent.push_back(*message);
  }
  CHECK(Find<Heartbeat>(sent));
  CHECK(Find<Batch>(sent));
}

TEST_CASE("writes that come together go to a peer in one message") {
  Fixture f;
  const ConnId conn = f.Connect();
  f.node.transport.woken.clear();
  {
    const Driver::Round round(f.node.driver);
    for (int i = 0; i < 3; ++i) f.Write("k" + std::to_string(i));
    CHECK(f.node.transport.woken.empty());
    std::thread([&] { f.node.Put("elsewhere", "v"); }).join();  // another thread does not wait
    CHECK(f.node.transport.woken == std::set<ConnId>{conn});
    f.node.transport.woken.clear();
  }
  CHECK(f.node.transport.woken == std::set<ConnId>{conn});
  const auto batch = Find<Batch>(f.node.Pull(conn));
  REQUIRE(batch);
  CHECK(batch->entries.size() == 4);
  f.Write("k");
  CHECK(f.node.transport.woken.contains(conn));
}

}  // namespace
}  // namespace podmirror::sync
