// A joiner's check of its copy, and what makes it old.
#include <catch2/catch.hpp>

#include "sync/sync_testing.h"

namespace podmirror::sync {
namespace {

// A joiner that has copied from pod 1 and waits for pod 3, which is Ready by its record and silent.
struct Fixture {
  Fixture() : node(OptionsOf(2)), donor(1, node) {
    set = SetOf({1, 3});
    set.peers[1].ready = true;
    node.driver.SetPeers(set);
    donor.SayHello(node, &inbound);
    conn = donor.Open(node);
    donor.Serve(node, conn);
    node.driver.Receive(inbound, Batch{1, 1, {Written("before")}});
  }
  EntryRef Written(const std::string& key) const {
    return Entry::Make(1, key, "v", {HlcOf(node.env.now().wall), 2});
  }
  // What the donor has taken and its link to us did not bring.
  void DonorTakes(const std::string& key) { donor.cache.Merge(Written(key), node.env.now().wall); }
  // Answers the node, and keeps the link to it alive.
  void Serve(std::int64_t ms) {
    for (std::int64_t at = 0; at < ms && !node.driver.ready(); at += 100) {
      node.Run(100, 100);
      Heartbeat heartbeat{HlcOf(node.env.now().wall)};
      heartbeat.synced = true;
      node.driver.Receive(inbound, heartbeat);
      donor.Serve(node, conn);
    }
  }

  TestNode node;
  FakePeer donor;
  PeerSet set;
  ConnId inbound = 0;
  ConnId conn = 0;
};

TEST_CASE("who waits for somebody checks its copy again when the wait ends") {
  Fixture f;
  f.Serve(5000);
  REQUIRE_FALSE(f.node.driver.ready());
  f.DonorTakes("meanwhile");
  f.set.peers[1].ready = false;
  f.node.driver.SetPeers(f.set);
  f.Serve(40'000);
  REQUIRE(f.node.driver.ready());
  CHECK(f.node.Has("meanwhile"));
}

// Two donors: the check with the first one is done, the second one takes its time.
struct TwoDonors {
  TwoDonors() : node(OptionsOf(9)), first(1, node), second(3, node) {
    node.driver.SetPeers(SetOf({1, 3}));
    first.SayHello(node, &inbound);
    conn = first.Open(node);
    second.answers = false;
    other = second.Open(node);
    for (int i = 0; i < 5; ++i) Step();
    REQUIRE_FALSE(node.driver.ready());
    // What the link of the first one does not bring.
    first.cache.Merge(Entry::Make(1, "late", "v", {HlcOf(node.env.now().wall), 2}),
                      node.env.now().wall);
  }
  void Step() {
    node.Run(100, 100);
    Heartbeat heartbeat{HlcOf(node.env.now().wall)};
    heartbeat.synced = true;
    node.driver.Receive(inbound, heartbeat);
    first.Serve(node, conn);
    second.Serve(node, other);
  }
  void Finish() {
    second.answers = true;
    for (int i = 0; i < 200 && !node.driver.ready(); ++i) Step();
    REQUIRE(node.driver.ready());
  }

  TestNode node;
  FakePeer first;
  FakePeer second;
  ConnId inbound = 0;
  ConnId conn = 0;
  ConnId other = 0;
};

// What comes by neither way does not exist: "late" shows that no second pass was made.
TEST_CASE("a check counts as long as nothing can have been missed") {
  TwoDonors f;
  f.Finish();
  CHECK_FALSE(f.node.Has("late"));
}

TEST_CASE("a check is made again when something may have been missed since") {
  TwoDonors f;
  SECTION("the peer's stream to us ended") {
    f.node.driver.Closed(f.inbound, {Code::kUnavailable, "reset"});
  }
  SECTION("it opened another one") { f.first.SayHello(f.node, &f.inbound); }
  SECTION("its run was restarted") {
    f.node.driver.Receive(f.inbound, Batch{1, 1, {Entry::Make(1, "a", "v", {1, 2})}});
    f.node.driver.Receive(f.inbound, Batch{7, 7, {Entry::Make(1, "b", "v", {2, 2})}});
  }
  SECTION("its run was restarted, and nothing has been written since") {
    Heartbeat heartbeat{HlcOf(f.node.env.now().wall)};
    heartbeat.synced = true;
    for (const std::uint64_t run_start : {1, 7}) {
      heartbeat.run_start = run_start;
      f.node.driver.Receive(f.inbound, heartbeat);
    }
  }
  SECTION("it says that its link to us is not open") {
    f.first.link_open = false;
    f.Step();
    f.first.link_open = true;
  }
  SECTION("somebody held us up, whose writes came to it and not to us") {
    PeerSet set = SetOf({1, 3, 4});
    set.peers[2].ready = true;
    f.node.driver.SetPeers(set);
    f.Step();
    f.node.driver.SetPeers(SetOf({1, 3}));
  }
  SECTION("our stream to it ended") {
    f.node.driver.Closed(f.conn, {Code::kUnavailable, "reset"});
    for (int i = 0; i < 100 && f.node.DialledTo(f.first.id) == f.conn; ++i) f.node.Run(25);
    f.conn = f.first.Open(f.node);
  }
  f.Finish();
  CHECK(f.node.Has("late"));
}

// The last answer that the joiner waits for is the first that it sees after it was stopped.
TEST_CASE("who was stopped looks first who is still there") {
  TwoDonors f;
  std::optional<SumsRequest> question;
  for (int i = 0; i < 200 && !question; ++i) {
    f.Step();
    f.node.Run(100, 100);
    for (const Message& message : f.node.Pull(f.other)) {
      if (const auto* sums = std::get_if<SumsRequest>(&message)) question = *sums;
      if (const auto reply = f.second.Answer(f.node, message)) {
        f.node.driver.Receive(f.other, *reply);
      }
    }
  }
  REQUIRE(question);
  f.node.env.Advance(20'000);
  f.node.driver.Receive(f.other, AnswerSums(f.second.cache, *question));
  CHECK_FALSE(f.node.driver.ready());
  SECTION("those that fell silent are lost") {
    f.node.driver.Tick();
    CHECK_FALSE(f.node.driver.ready());
    CHECK(f.node.Saw(EventKind::kPeerLost));
  }
  SECTION("with those that are heard of the copy is checked again") {
    Heartbeat heartbeat{HlcOf(f.node.env.now().wall)};
    heartbeat.synced = heartbeat.link_open = true;
    for (const ConnId stream : {f.conn, f.inbound}) f.node.driver.Receive(stream, heartbeat);
    f.node.driver.Tick();
    CHECK_FALSE(f.node.driver.ready());
    f.Finish();
    CHECK(f.node.Has("late"));
  }
}

}  // namespace
}  // namespace podmirror::sync
