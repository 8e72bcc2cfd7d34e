// Writes on a condition: what is answered for each verdict, and which verdict is given on those of
// others. The rules are those of conditions.h.
#include "sync/conditions.h"

#include <catch2/catch.hpp>
#include <ostream>

#include "sync/sync_testing.h"

namespace podmirror::sync {

// For what a failure says.
std::ostream& operator<<(std::ostream& out, const Verdict& verdict) {
  return out << (verdict.kind == Verdict::kFine   ? "fine"
                 : verdict.kind == Verdict::kLost ? "lost to " + verdict.winner.ToString()
                                                  : "no word");
}

namespace {

using Names = std::vector<std::string>;

constexpr Verdict kFine{Verdict::kFine, {}};

// A ready daemon of pod 1, and pod 2, a peer of this version.
struct Fixture {
  Fixture() : node(OptionsOf(1)), peer(2, node) {
    peer.intro.features = kFeatures;
    node.StartAlone();
    REQUIRE(node.driver.ready());
  }
  void Connect() {
    node.driver.SetPeers(SetOf({2}));
    conn = peer.Open(node);
    peer.Serve(node, conn);
    REQUIRE(peer.SayHello(node, &inbound));
  }
  Version Put(const std::string& key) {
    node.Put(key, "v");
    return node.cache.Peek(1, key)->version();
  }
  // On the version that is here, or on nothing where nothing is.
  Version PutIf(const std::string& key, std::optional<Version> version) {
    node.Put(key, "if", {AckLevel::kAll, 1000, Condition{version}},
             [this](const WriteOutcome& outcome) { outcomes.push_back(outcome); });
    return node.cache.Peek(1, key)->version();
  }
  // The peer takes the batch that is due, and acknowledges it with this verdict on all.
  void Acknowledge(const Verdict& verdict) {
    const auto batch = Find<Batch>(node.Pull(conn));
    REQUIRE(batch);
    Ack ack{batch->last_seq};
    for (const auto& [place, base] : batch->bases) ack.verdicts.emplace_back(place, verdict);
    if (verdict == Verdict{}) ack.verdicts.clear();
    node.driver.Receive(conn, ack);
  }
  // What the node says of a peer's write that comes by its own stream.
  Verdict Judge(const std::string& key, Version version, const Base& base) {
    Batch batch{++seq, seq, {Entry::Make(1, key, "theirs", version)}, {{0, base}}};
    node.driver.Receive(inbound, batch);
    const auto ack = Find<Ack>(node.Pull(inbound));
    REQUIRE(ack);
    return ack->verdicts.empty() ? Verdict{} : ack->verdicts.front().second;
  }
  // A version that is newer than all so far.
  Version Newer(std::uint64_t by = 1) const {
    return {node.driver.Status().hlc + by, peer.intro.incarnation};
  }

  TestNode node;
  FakePeer peer;
  ConnId conn = 0;
  ConnId inbound = 0;
  std::uint64_t seq = 0;
  std::vector<WriteOutcome> outcomes;
};

TEST_CASE("alone, a condition that holds is enough") {
  Fixture f;
  const Version first = f.PutIf("k", {});
  const Version second = f.PutIf("k", first);
  REQUIRE(f.outcomes.size() == 2);
  CHECK(f.outcomes[1].met);
  CHECK(f.outcomes[1].version == second);
}

TEST_CASE("where the condition does not hold nothing is applied, and nothing is sent") {
  Fixture f;
  f.Connect();
  const Version held = f.Put("k");
  f.Acknowledge(kFine);
  f.PutIf("k", Version{1, 1});
  f.PutIf("k", {});
  REQUIRE(f.outcomes.size() == 2);
  for (const WriteOutcome& outcome : f.outcomes) {
    CHECK(outcome.failed);
    CHECK(outcome.found == held);
    CHECK_FALSE(outcome.met);
  }
  CHECK(f.node.cache.Find(1, "k", kStartWall)->value() == "v");
  CHECK_FALSE(Find<Batch>(f.node.Pull(f.conn)));
}

TEST_CASE("of what is not there no version is told") {
  Fixture f;
  f.Put("k");
  f.node.Delete("k");
  f.PutIf("k", Version{1, 1});
  REQUIRE(f.outcomes.size() == 1);
  CHECK(f.outcomes[0].failed);
  CHECK_FALSE(f.outcomes[0].found);
}

TEST_CASE("the base goes with the write") {
  Fixture f;
  f.Connect();
  const Version base = f.Put("k");
  f.Acknowledge(kFine);
  f.PutIf("k", base);
  f.PutIf("new", {});
  const auto batch = Find<Batch>(f.node.Pull(f.conn));
  REQUIRE(batch);
  REQUIRE(batch->bases.size() == 2);
  CHECK(batch->bases[0] == std::pair(std::uint32_t{0}, Base{base, false, false}));
  CHECK(batch->bases[1] == std::pair(std::uint32_t{1}, Base{{}, true, false}));
}

TEST_CASE("the peer's verdict decides") {
  Fixture f;
  f.Connect();
  const Version version = f.PutIf("k", {});
  CHECK(f.outcomes.empty());
  SECTION("fine") {
    f.Acknowledge(kFine);
    REQUIRE(f.outcomes.size() == 1);
    CHECK(f.outcomes[0].met);
    CHECK_FALSE(f.outcomes[0].winner);
  }
  SECTION("lost") {
    const Version winner{version.hlc + 1, 7};
    f.Acknowledge({Verdict::kLost, winner});
    REQUIRE(f.outcomes.size() == 1);
    CHECK_FALSE(f.outcomes[0].met);
    CHECK(f.outcomes[0].winner == winner);
  }
  SECTION("unknown") {
    f.Acknowledge({});
    REQUIRE(f.outcomes.size() == 1);
    CHECK_FALSE(f.outcomes[0].met);
    CHECK_FALSE(f.outcomes[0].winner);
    CHECK(f.outcomes[0].pending == Names{"pod-2"});
  }
}

TEST_CASE("a peer of the version before is not waited for, and stays pending") {
  Fixture f;
  f.peer.intro.features = kFragmentsFeature;
  f.Connect();
  f.PutIf("k", {});
  REQUIRE(f.outcomes.size() == 1);
  CHECK_FALSE(f.outcomes[0].met);
  CHECK(f.outcomes[0].pending == Names{"pod-2"});
}

TEST_CASE("a peer that leaves the set without a word stays pending") {
  Fixture f;
  f.Connect();
  f.PutIf("k", {});
  f.node.driver.SetPeers(SetOf({}));
  REQUIRE(f.outcomes.size() == 1);
  CHECK_FALSE(f.outcomes[0].met);
  CHECK(f.outcomes[0].peers == 1);
  CHECK(f.outcomes[0].pending == Names{"pod-2"});
}

TEST_CASE("what is newer than what is here is fine, and what is older has lost to it") {
  Fixture f;
  f.Connect();
  const Version held = f.Put("k");
  CHECK(f.Judge("k", {held.hlc - 1, 9}, {}) == Verdict{Verdict::kLost, held});
  CHECK(f.Judge("k", f.Newer(), {held, false, false}) == kFine);
  CHECK(f.Judge("other", f.Newer(), {{}, true, false}) == kFine);
}

TEST_CASE("a write of ours that still waits is lost to one that missed it") {
  Fixture f;
  f.Connect();
  f.PutIf("k", {});
  const Version theirs = f.Newer();
  CHECK(f.Judge("k", theirs, {{}, true, false}) == kFine);
  REQUIRE(f.outcomes.size() == 1);
  CHECK(f.outcomes[0].winner == theirs);
}

TEST_CASE("a write of ours that was told 200 keeps one that missed it from being fine") {
  Fixture f;
  f.Connect();
  const Version ours = f.PutIf("k", {});
  f.Acknowledge(kFine);
  SECTION("it missed it") {
    CHECK(f.Judge("k", f.Newer(), {{}, true, false}) == Verdict{});
    // So does one that has replaced the one that missed it, and was never told of ours.
    CHECK(f.Judge("k", f.Newer(2), {{1, 9}, false, false}) == Verdict{});
  }
  SECTION("it has seen it") { CHECK(f.Judge("k", f.Newer(), {ours, false, false}) == kFine); }
  SECTION("it was deleted in between") {
    f.node.Delete("k");
    CHECK(f.Judge("k", f.Newer(), {{}, true, false}) == kFine);
  }
}

TEST_CASE("what a pass has brought before is judged by what we told alone") {
  Fixture f;
  f.Connect();
  const Version theirs = f.Newer();
  f.node.cache.Merge(Entry::Make(1, "k", "theirs", theirs), kStartWall);
  CHECK(f.Judge("k", theirs, {{1, 9}, false, false}) == Verdict{});  // since before us
  const Version base = f.Newer(5);
  f.node.cache.Merge(Entry::Make(1, "l", "theirs", {base.hlc + 1, 9}), kStartWall);
  CHECK(f.Judge("l", {base.hlc + 1, 9}, {base, false, false}) == kFine);
}

TEST_CASE("the same is said again, also when others have built on it since") {
  Fixture f;
  f.Connect();
  const Version theirs = f.Newer();
  CHECK(f.Judge("k", theirs, {{}, true, false}) == kFine);
  CHECK(f.Judge("k", theirs, {{}, true, false}) == kFine);
  f.PutIf("k", theirs);
  CHECK(f.Judge("k", theirs, {{}, true, false}) == kFine);
}

TEST_CASE("the same is said again of all that a lost stream had in flight") {
  Fixture f;
  f.Connect();
  const Version first = f.Newer();
  const Version second = f.Newer(2);
  const Base none{{}, true, false};
  const Base on_first{first, false, false};
  CHECK(f.Judge("k", first, none) == kFine);
  CHECK(f.Judge("k", second, on_first) == kFine);
  CHECK(f.Judge("k", first, none) == kFine);
  CHECK(f.Judge("k", second, on_first) == kFine);
}

TEST_CASE("what comes behind those that were written on it is as fine as they were") {
  Fixture f;
  f.Connect();
  const Version held = f.Put("k");
  const Version first = f.Newer();
  const Version second = f.Newer(2);
  const Version third = f.Newer(3);
  const Base on_held{held, false, false};
  SECTION("in steps") {
    CHECK(f.Judge("k", third, {second, false, false}) == kFine);
    CHECK(f.Judge("k", first, on_held) == Verdict{Verdict::kLost, third});  // nobody knows yet
    CHECK(f.Judge("k", second, {first, false, false}) == kFine);
    CHECK(f.Judge("k", first, on_held) == kFine);
  }
  SECTION("not one that is apart") {
    CHECK(f.Judge("k", second, {first, false, false}) == kFine);
    CHECK(f.Judge("k", first, {held, false, true}) == Verdict{Verdict::kLost, second});
  }
  SECTION("not where nothing was to be there") {
    CHECK(f.Judge("k", second, {first, true, false}) == kFine);
    CHECK(f.Judge("k", first, on_held) == Verdict{Verdict::kLost, second});
  }
  SECTION("not in steps of which one was not fine") {
    const Version ours = f.PutIf("k", held);
    f.Acknowledge(kFine);
    const Version late = f.Newer();
    CHECK(f.Judge("k", late, on_held) == Verdict{});  // it has missed ours
    CHECK(f.Judge("k", {late.hlc - 1, 9}, {ours, false, false}) == Verdict{Verdict::kLost, late});
  }
}

TEST_CASE("a write of ours that was told 200 is not missed by what comes late, either") {
  Fixture f;
  f.Connect();
  const Version held = f.Put("k");
  f.Acknowledge({});
  const Version ours = f.PutIf("k", held);
  f.Acknowledge(kFine);
  const Version first = f.Newer();
  const Version second = f.Newer(2);
  CHECK(f.Judge("k", second, {first, false, false}) == kFine);
  CHECK(f.Judge("k", first, {held, false, false}) == Verdict{Verdict::kLost, second});
  CHECK(ours < first);
}

TEST_CASE("who knows of others that it does not ask gets no word where it missed something") {
  Fixture f;
  f.Connect();
  const Version held = f.Put("k");
  CHECK(f.Judge("k", f.Newer(), {{held.hlc - 1, 9}, false, true}) == Verdict{});
  CHECK(f.Judge("l", f.Newer(), {{}, true, true}) == kFine);
  // It counts as told 200.
  CHECK(f.Judge("l", f.Newer(2), {{}, true, false}) == Verdict{});
}

TEST_CASE("a pod that terminates is told of in the base") {
  Fixture f;
  PeerSet set = SetOf({2});
  set.terminating.push_back(RecordOf(3));
  f.node.driver.SetPeers(set);
  f.conn = f.peer.Open(f.node);
  f.peer.Serve(f.node, f.conn);
  f.PutIf("k", {});
  const auto batch = Find<Batch>(f.node.Pull(f.conn));
  REQUIRE(batch);
  REQUIRE(batch->bases.size() == 1);
  CHECK(batch->bases[0].second.apart);
}

TEST_CASE("the memory is bounded, and what falls out counts by its hlc") {
  Conditions conditions;
  conditions.Begin(100);
  conditions.Took(0, {101, 1});
  conditions.Told(0, {150, 1});
  CHECK(conditions.MayMiss(0, {149, 1}));
  CHECK_FALSE(conditions.MayMiss(0, {150, 1}));
  CHECK(conditions.MayMiss(1, {100, 1}));  // as before Begin
  CHECK_FALSE(conditions.MayMiss(1, {101, 1}));
  for (std::uint64_t key = 1; key <= Conditions::kKeys; ++key) conditions.Took(key, {});
  CHECK(conditions.MayMiss(0, {150, 1}));
  CHECK_FALSE(conditions.MayMiss(0, {151, 1}));
  CHECK_FALSE(conditions.MayMiss(5, {}));  // all of its history is known
}

}  // namespace
}  // namespace podmirror::sync
