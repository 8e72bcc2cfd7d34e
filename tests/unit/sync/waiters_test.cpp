#include "sync/waiters.h"

#include <catch2/catch.hpp>

namespace podmirror::sync {
namespace {

using Pending = std::vector<std::string>;

// The record of the peer "a" is that of "pod-a".
const PodRecord& Named(const std::string& id) {
  static std::map<std::string, PodRecord> records;
  PodRecord& record = records[id];
  record.name = "pod-" + id;
  return record;
}

// Waiters, and the outcomes that they have told so far.
struct Fixture {
  void Add(std::uint64_t seq, AckLevel ack, std::vector<Waiters::Peer> peers,
           std::int64_t timeout_ms = 1000) {
    AddWrite({seq, seq, {seq, 1}}, ack, std::move(peers), timeout_ms);
  }
  void AddWrite(const Waiters::Write& write, AckLevel ack, std::vector<Waiters::Peer> peers,
                std::int64_t timeout_ms = 1000) {
    waiters.Add(
        write, {ack, timeout_ms}, now, std::move(peers),
        [this](const WriteOutcome& outcome) { outcomes.push_back(outcome); }, completions);
    Tell();
  }
  void Acked(const std::string& peer, std::uint64_t first, std::uint64_t last,
             std::uint64_t start = 1) {
    waiters.Acked(Named(peer), {start, last, missing}, first, completions);
    Tell();
  }
  void Unreachable(const std::string& peer) {
    waiters.Unreachable(Named(peer), completions);
    Tell();
  }
  void Removed(const std::string& peer) {
    waiters.Removed(Named(peer), completions);
    Tell();
  }
  void Tick() {
    waiters.Tick(now, completions);
    Tell();
  }
  void Tell() {
    for (auto& [done, outcome] : std::exchange(completions, {})) done(outcome);
  }

  Conditions conditions;
  Waiters waiters{conditions};
  Waiters::Completions completions;
  std::vector<WriteOutcome> outcomes;
  std::set<std::uint64_t> missing;  // of every peer
  SteadyMs now = 0;
};

const Waiters::Peer kA{&Named("a"), true};
const Waiters::Peer kB{&Named("b"), true};
const Waiters::Peer kC{&Named("c"), true};
const Waiters::Peer kGone{&Named("g"), false};

TEST_CASE("how many acknowledgements each level needs") {
  struct Row {
    std::uint32_t peers, local, one, majority, all;
  };
  // A majority is of all pods and counts the writer's own.
  const Row row = GENERATE(Row{0, 0, 0, 0, 0}, Row{1, 0, 1, 1, 1}, Row{2, 0, 1, 1, 2},
                           Row{3, 0, 1, 2, 3}, Row{4, 0, 1, 2, 4}, Row{9, 0, 1, 5, 9});
  CAPTURE(row.peers);
  CHECK(NeededAcks(AckLevel::kLocal, row.peers) == row.local);
  CHECK(NeededAcks(AckLevel::kOne, row.peers) == row.one);
  CHECK(NeededAcks(AckLevel::kMajority, row.peers) == row.majority);
  CHECK(NeededAcks(AckLevel::kAll, row.peers) == row.all);
}

TEST_CASE("ack=all waits for every peer") {
  Fixture f;
  f.Add(1, AckLevel::kAll, {kA, kB});
  CHECK(f.outcomes.empty());
  f.Acked("b", 1, 1);
  CHECK(f.outcomes.empty());
  f.Acked("a", 1, 1);
  REQUIRE(f.outcomes.size() == 1);
  CHECK(f.outcomes[0].met);
  CHECK(f.outcomes[0].required == AckLevel::kAll);
  CHECK(f.outcomes[0].peers == 2);
  CHECK(f.outcomes[0].acked == 2);
  CHECK(f.outcomes[0].pending.empty());
  CHECK(f.outcomes[0].version == Version{1, 1});
  CHECK(f.waiters.size() == 0);
}

TEST_CASE("ack=one ends with the first peer and names the others") {
  Fixture f;
  f.Add(1, AckLevel::kOne, {kA, kB, kC});
  f.Acked("b", 1, 1);
  REQUIRE(f.outcomes.size() == 1);
  CHECK(f.outcomes[0].met);
  CHECK(f.outcomes[0].acked == 1);
  CHECK(f.outcomes[0].pending == Pending{"pod-a", "pod-c"});
}

TEST_CASE("ack=majority of four pods needs two peers") {
  Fixture f;
  f.Add(1, AckLevel::kMajority, {kA, kB, kC});
  f.Acked("c", 1, 1);
  CHECK(f.outcomes.empty());
  f.Acked("a", 1, 1);
  REQUIRE(f.outcomes.size() == 1);
  CHECK(f.outcomes[0].met);
  CHECK(f.outcomes[0].pending == Pending{"pod-b"});
}

TEST_CASE("ack=local, and every level without peers, end at once and are met") {
  Fixture f;
  f.Add(1, AckLevel::kLocal, {kA, kB});
  f.Add(2, AckLevel::kOne, {});
  f.Add(3, AckLevel::kMajority, {});
  f.Add(4, AckLevel::kAll, {});
  REQUIRE(f.outcomes.size() == 4);
  for (const WriteOutcome& outcome : f.outcomes) CHECK(outcome.met);
  CHECK(f.outcomes[0].peers == 2);
  CHECK(f.outcomes[3].peers == 0);
}

TEST_CASE("one peer acknowledging twice counts once") {
  Fixture f;
  f.Add(1, AckLevel::kAll, {kA, kB});
  f.Acked("a", 1, 1);
  f.Acked("a", 1, 1);
  CHECK(f.outcomes.empty());
}

TEST_CASE("an acknowledgement counts for the numbers that it covers, and no other") {
  Fixture f;
  for (std::uint64_t seq = 1; seq <= 4; ++seq) f.Add(seq, AckLevel::kAll, {kA});
  f.Acked("a", 2, 3);
  REQUIRE(f.outcomes.size() == 2);
  CHECK(f.outcomes[0].version.hlc == 2);
  CHECK(f.outcomes[1].version.hlc == 3);
  CHECK(f.waiters.size() == 2);
}

TEST_CASE("the timeout ends a wait as not met, with the pending named oldest first") {
  Fixture f;
  f.Add(1, AckLevel::kAll, {kA, kB, kC}, 500);
  f.Acked("b", 1, 1);
  f.now = 499;
  f.Tick();
  CHECK(f.outcomes.empty());
  f.now = 500;
  f.Tick();
  REQUIRE(f.outcomes.size() == 1);
  CHECK_FALSE(f.outcomes[0].met);
  CHECK(f.outcomes[0].acked == 1);
  CHECK(f.outcomes[0].pending == Pending{"pod-a", "pod-c"});
  CHECK(f.waiters.size() == 0);
}

TEST_CASE("only peers out of reach pending: ends at once") {
  Fixture f;
  f.Add(1, AckLevel::kAll, {kGone});
  REQUIRE(f.outcomes.size() == 1);
  CHECK_FALSE(f.outcomes[0].met);
  CHECK(f.outcomes[0].pending == Pending{"pod-g"});
}

TEST_CASE("a peer out of reach is not waited for, the others are") {
  Fixture f;
  f.Add(1, AckLevel::kAll, {kGone, kA, kB});
  CHECK(f.outcomes.empty());
  f.Acked("a", 1, 1);
  CHECK(f.outcomes.empty());
  f.Acked("b", 1, 1);
  REQUIRE(f.outcomes.size() == 1);
  CHECK_FALSE(f.outcomes[0].met);
  CHECK(f.outcomes[0].peers == 3);
  CHECK(f.outcomes[0].acked == 2);
  CHECK(f.outcomes[0].pending == Pending{"pod-g"});
}

TEST_CASE("a peer that gets out of reach meanwhile ends the waits for it alone") {
  Fixture f;
  f.Add(1, AckLevel::kAll, {kA});
  f.Add(2, AckLevel::kAll, {kA, kB});
  f.Unreachable("a");
  REQUIRE(f.outcomes.size() == 1);
  CHECK(f.outcomes[0].version.hlc == 1);
  CHECK_FALSE(f.outcomes[0].met);
  f.Acked("b", 2, 2);
  REQUIRE(f.outcomes.size() == 2);
  CHECK(f.outcomes[1].pending == Pending{"pod-a"});
}

TEST_CASE("a peer out of reach that acknowledges in time counts") {
  Fixture f;
  f.Add(1, AckLevel::kAll, {kGone, kA});
  f.Acked("g", 1, 1);
  f.Acked("a", 1, 1);
  REQUIRE(f.outcomes.size() == 1);
  CHECK(f.outcomes[0].met);
}

TEST_CASE("a removed peer does not count any more") {
  Fixture f;
  f.Add(1, AckLevel::kAll, {kA, kB});
  f.Acked("a", 1, 1);
  f.Removed("b");
  REQUIRE(f.outcomes.size() == 1);
  CHECK(f.outcomes[0].met);
  CHECK(f.outcomes[0].peers == 1);
}

TEST_CASE("what is held from a number on says nothing of a write that began before it") {
  Fixture f;
  f.AddWrite({4, 6, {6, 1}}, AckLevel::kAll, {kA});
  f.AddWrite({7, 8, {8, 1}}, AckLevel::kAll, {kA});
  f.Acked("a", 5, 8, 5);
  REQUIRE(f.outcomes.size() == 1);
  CHECK(f.outcomes[0].version.hlc == 8);
}

TEST_CASE("who turns out to be an old service does not count for what it cannot be told") {
  Fixture f;
  f.AddWrite({1, 1, {1, 1}, true}, AckLevel::kAll, {kA});
  f.AddWrite({2, 2, {2, 1}, false}, AckLevel::kAll, {kA, kB});
  f.waiters.Legacy(Named("a"), f.completions);
  f.Tell();
  CHECK(f.outcomes.empty());
  f.Acked("b", 1, 2);
  REQUIRE(f.outcomes.size() == 1);
  CHECK(f.outcomes[0].version.hlc == 2);
  CHECK(f.outcomes[0].met);
  CHECK(f.outcomes[0].peers == 1);
}

TEST_CASE("all that wait can be ended: as they stand") {
  Fixture f;
  f.Add(1, AckLevel::kAll, {kA, kB});
  f.Add(2, AckLevel::kOne, {kA, kB});
  f.Acked("b", 1, 1);
  f.waiters.EndAll(f.completions);
  f.Tell();
  REQUIRE(f.outcomes.size() == 2);
  CHECK_FALSE(f.outcomes[0].met);
  CHECK(f.outcomes[0].acked == 1);
  CHECK(f.outcomes[0].pending == Pending{"pod-a"});
  CHECK_FALSE(f.outcomes[1].met);
  CHECK(f.outcomes[1].pending == Pending{"pod-a", "pod-b"});
  CHECK(f.waiters.size() == 0);
}

TEST_CASE("over the limit of waiting writes the next ends at once, not met") {
  Fixture f;
  for (std::uint64_t seq = 1; seq <= Waiters::kMaxWaiters; ++seq) f.Add(seq, AckLevel::kAll, {kA});
  CHECK(f.outcomes.empty());
  f.Add(Waiters::kMaxWaiters + 1, AckLevel::kAll, {kA});
  REQUIRE(f.outcomes.size() == 1);
  CHECK_FALSE(f.outcomes[0].met);
  CHECK(f.outcomes[0].pending == Pending{"pod-a"});
  f.Acked("a", 1, Waiters::kMaxWaiters);
  CHECK(f.outcomes.size() == Waiters::kMaxWaiters + 1);
  CHECK(f.waiters.size() == 0);
}

}  // namespace
}  // namespace podmirror::sync
