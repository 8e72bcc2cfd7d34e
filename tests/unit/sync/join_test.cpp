#include "sync/join.h"

#include <catch2/catch.hpp>

#include "sync/sync_testing.h"

namespace podmirror::sync {
namespace {

using Kind = JoinDecision::Kind;

constexpr std::int64_t kTimeout = 30'000;
constexpr std::int64_t kLate = kTimeout + 1;

JoinPeer Peer(const std::string& id) {
  JoinPeer peer;
  peer.id = id;
  peer.name = "pod-" + id;
  return peer;
}
JoinPeer Synced(const std::string& id) {
  JoinPeer peer = Peer(id);
  peer.reached = peer.synced = peer.link_open = true;
  return peer;
}
JoinPeer Joiner(const std::string& id, bool elder) {
  JoinPeer peer = Peer(id);
  peer.reached = true;
  peer.elder = elder;
  return peer;
}
JoinPeer Lost(const std::string& id, bool ready) {
  JoinPeer peer = Peer(id);
  peer.failed = true;
  if (ready) peer.record = JoinPeer::Record::kReady;
  peer.error = "connection refused";
  return peer;
}
JoinPeer Legacy(const std::string& id) {
  JoinPeer peer = Peer(id);
  peer.reached = peer.legacy = true;
  return peer;
}
template <typename Change>
JoinPeer With(JoinPeer peer, Change change) {
  change(peer);
  return peer;
}
const auto kBusy = [](JoinPeer& peer) { peer.busy = true; };
const auto kChecked = [](JoinPeer& peer) { peer.checked = true; };
const auto kReady = [](JoinPeer& peer) { peer.record = JoinPeer::Record::kReady; };
const auto kForeign = [](JoinPeer& peer) { peer.foreign = true; };
const auto kWithoutRecord = [](JoinPeer& peer) { peer.record = JoinPeer::Record::kNone; };
const auto kNotTold = [](JoinPeer& peer) { peer.lost = true; };
const auto kUnaware = [](JoinPeer& peer) { peer.link_open = false; };

struct Row {
  std::string what;
  std::vector<JoinPeer> peers;  // oldest first
  Kind kind;
  std::string peer_or_reason;
  std::int64_t elapsed_ms = 2000;
  bool copied = false;
  bool alone = false;
  bool legacy_copied = false;
};

void Check(const Row& row) {
  INFO(row.what);
  JoinView view;
  view.set_known = true;
  view.elapsed_ms = row.elapsed_ms;
  view.copied = row.copied;
  view.legacy_copied = row.legacy_copied;
  view.peers = row.peers;
  const JoinDecision decision = DecideJoin(view, {kTimeout, row.alone});
  CHECK(static_cast<int>(decision.kind) == static_cast<int>(row.kind));
  if (row.kind == Kind::kCopy) CHECK(decision.peer == row.peer_or_reason);
  if (row.kind == Kind::kWait) CHECK(decision.reason == row.peer_or_reason);
  if (row.kind == Kind::kVerify) {
    std::string all;
    for (const std::string& id : decision.verify) all += id;
    CHECK(all == row.peer_or_reason);
  }
}

TEST_CASE("without a good set a joiner waits, and says why") {
  JoinView view;
  view.discovery_error = "etcd: connection refused";
  view.peers = {Synced("a")};
  const JoinDecision decision = DecideJoin(view, {});
  CHECK(decision.kind == Kind::kWait);
  CHECK(decision.reason == "etcd: connection refused");
}

TEST_CASE("nobody is first while the records cannot be read") {
  JoinView view;
  view.set_known = true;
  view.elapsed_ms = 60'000;
  view.discovery_error = "etcd: connection refused";
  JoinPeer peer;
  peer.name = "b";
  view.peers = {peer};
  const JoinDecision decision = DecideJoin(view, {});
  CHECK(decision.kind == Kind::kWait);
  CHECK(decision.reason == "etcd: connection refused");
  CHECK(DecideJoin(view, {.bootstrap_alone = true}).kind == Kind::kFirst);
  view.discovery_error.clear();
  CHECK(DecideJoin(view, {}).kind == Kind::kFirst);
}

TEST_CASE("a copy that was broken off is no donor of the first one") {
  TestNode node(OptionsOf(3));
  FakePeer donor(1, node);
  node.driver.SetPeers(SetOf({1}));
  const ConnId conn = donor.Open(node);
  (void)node.Pull(conn);
  REQUIRE(node.driver.Status().bootstrap.donor == "pod-1");
  node.driver.SetPeers(SetOf({}));
  REQUIRE(node.driver.ready());
  CHECK(node.driver.Status().bootstrap.donor.empty());
}

TEST_CASE("a pod that terminates gives the copy when nobody else can") {
  const auto kTerminating = [](JoinPeer& peer) { peer.record = JoinPeer::Record::kTerminating; };
  const JoinPeer unreached = With(Peer("a"), kTerminating);
  for (const Row& row : std::vector<Row>{
           {"it alone has the data", {With(Synced("a"), kTerminating)}, Kind::kCopy, "a"},
           {"and checks the copy",
            {With(Synced("a"), kTerminating)},
            Kind::kVerify,
            "a",
            2000,
            /*copied=*/true},
           {"a peer has it, too", {With(Synced("a"), kTerminating), Synced("b")}, Kind::kCopy, "b"},
           {"nobody waits for it then",
            {unreached, With(Synced("b"), kChecked)},
            Kind::kSynced,
            "",
            2000,
            /*copied=*/true},
           {"not heard of yet: wait",
            {unreached},
            Kind::kWait,
            "waiting for pod-a (terminating, not reached)"},
           {"its node is lost", {unreached}, Kind::kFirst, "", kAloneMs},
           {"met before, and lost since",
            {With(unreached, [](JoinPeer& peer) { peer.met_synced = true; })},
            Kind::kWait,
            "waiting for pod-a (terminating, not reached)",
            kTimeout - 1},
           {"met before, and still lost",
            {With(unreached, [](JoinPeer& peer) { peer.met_synced = true; })},
            Kind::kFirst,
            "",
            kTimeout},
           {"met before, and told to start alone",
            {With(unreached, [](JoinPeer& peer) { peer.met_synced = true; })},
            Kind::kFirst,
            "",
            kAloneMs,
            /*copied=*/false,
            /*alone=*/true},
           {"a Ready peer is being dialled",
            {With(Synced("a"), kTerminating), With(Peer("b"), kReady)},
            Kind::kWait,
            "waiting for pod-b (Ready, not reached)",
            kGatherMs - 1},
           {"and not reached",
            {With(Synced("a"), kTerminating), With(Lost("b", true), kReady)},
            Kind::kCopy,
            "a",
            kGatherMs - 1},
           {"of another cluster",
            {With(With(unreached, kForeign), kTerminating)},
            Kind::kFirst,
            ""},
           {"the only one that may be of our cluster",
            {With(Peer("f"), kForeign), unreached},
            Kind::kWait,
            "waiting for pod-f (not reached)",
            kTimeout - 1},
           {"one of another cluster beside it holds up nobody",
            {With(Peer("f"), kForeign), With(With(Synced("a"), kChecked), kTerminating)},
            Kind::kSynced,
            "",
            2000,
            /*copied=*/true},
           {"it has no data itself", {With(Joiner("a", true), kTerminating)}, Kind::kFirst, ""},
           {"an old service", {With(Legacy("a"), kTerminating)}, Kind::kCopy, "a"},
       }) {
    Check(row);
  }
}

TEST_CASE("the donor is the oldest synced peer") {
  for (const Row& row : std::vector<Row>{
           {"of two synced the older", {Synced("a"), Synced("b")}, Kind::kCopy, "a"},
           {"age alone is not enough", {Joiner("a", true), Synced("b")}, Kind::kCopy, "b"},
           {"a busy one is passed over", {With(Synced("a"), kBusy), Synced("b")}, Kind::kCopy, "b"},
           {"all busy: wait", {With(Synced("a"), kBusy)}, Kind::kWait, "waiting for a donor"},
           {"one that cannot be reached is passed over",
            {Lost("a", true), Synced("b")},
            Kind::kCopy,
            "b"},
           {"an older one not heard of yet is waited for",
            {Peer("a"), Synced("b")},
            Kind::kWait,
            "waiting for a donor",
            kGatherMs - 1},
           {"but not for long", {Peer("a"), Synced("b")}, Kind::kCopy, "b", kGatherMs},
           {"a younger one is never waited for", {Synced("a"), Peer("b")}, Kind::kCopy, "a", 0},
           {"a legacy peer is no donor where a synced one is",
            {Legacy("a"), Synced("b")},
            Kind::kCopy,
            "b"},
       }) {
    Check(row);
  }
}

TEST_CASE("a copy is checked with every synced peer that is reached before it counts") {
  const JoinPeer done = With(Synced("a"), kChecked);
  for (const Row& row : std::vector<Row>{
           {"a pass with each", {Synced("a"), Synced("b")}, Kind::kVerify, "ab", 2000, true},
           {"only with those left", {done, Synced("b")}, Kind::kVerify, "b", 2000, true},
           {"joiners have nothing to check",
            {done, Joiner("b", true)},
            Kind::kSynced,
            "",
            2000,
            true},
           {"all passed", {done, With(Synced("b"), kChecked)}, Kind::kSynced, "", 2000, true},
           {"a writer that is not aware of us is waited for",
            {done, With(Synced("b"), kUnaware)},
            Kind::kWait,
            "waiting for the link of pod-b",
            2000,
            true},
           {"a check before the end of a wait would be too early",
            {With(Synced("a"), kUnaware), Synced("b")},
            Kind::kWait,
            "waiting for the link of pod-a",
            2000,
            true},
           {"so would one while a Ready peer is missing",
            {Synced("a"), With(Peer("b"), kReady)},
            Kind::kWait,
            "waiting for pod-b (Ready, not reached)",
            2000,
            true},
           {"its link is waited for at most bootstrap-timeout",
            {done, With(Synced("b"), kUnaware)},
            Kind::kVerify,
            "b",
            kTimeout,
            true},
       }) {
    Check(row);
  }
}

TEST_CASE("who cannot be reached holds up the end of a join") {
  const JoinPeer done = With(Synced("a"), kChecked);
  const std::string missing = "waiting for pod-b (Ready, not reached: connection refused)";
  for (const Row& row : std::vector<Row>{
           {"Ready: it holds data", {done, Lost("b", true)}, Kind::kWait, missing, 2000, true},
           {"for ever", {done, Lost("b", true)}, Kind::kWait, missing, 1'000'000'000, true},
           {"not Ready: until bootstrap-timeout",
            {done, Lost("b", false)},
            Kind::kWait,
            "waiting for pod-b (not reached: connection refused)",
            kTimeout - 1,
            true},
           {"and no longer", {done, Lost("b", false)}, Kind::kSynced, "", kTimeout, true},
           {"bootstrap-alone: a short while",
            {done, Lost("b", true)},
            Kind::kWait,
            missing,
            kAloneMs - 1,
            true,
            true},
           {"bootstrap-alone: and no longer",
            {done, Lost("b", true)},
            Kind::kSynced,
            "",
            kAloneMs,
            true,
            true},
           {"not Ready still blocks with bootstrap-alone",
            {done, Lost("b", false)},
            Kind::kWait,
            "waiting for pod-b (not reached: connection refused)",
            kTimeout - 1,
            true,
            true},
       }) {
    Check(row);
  }
}

TEST_CASE("without records most of those listed have to be at hand") {
  const JoinPeer done = With(Synced("a"), kChecked);
  const JoinPeer missing = With(Lost("b", false), kWithoutRecord);
  const std::string one = "waiting for pod-b (not reached: connection refused)";
  for (const Row& row : std::vector<Row>{
           {"one of two never starts", {missing}, Kind::kWait, one, 1'000'000'000},
           {"until told to", {missing}, Kind::kFirst, "", kAloneMs, false, true},
           {"two of three wait for the third", {done, missing}, Kind::kWait, one, 2000, true},
           {"but not for ever", {done, missing}, Kind::kSynced, "", kTimeout, true},
           {"who is of another cluster is not listed",
            {done, With(missing, kForeign)},
            Kind::kSynced,
            "",
            2000,
            true},
           {"half is not most",
            {done, missing, missing},
            Kind::kWait,
            one + ", pod-b (not reached: connection refused)",
            kLate,
            true},
       }) {
    Check(row);
  }
}

TEST_CASE("knowingly first") {
  for (const Row& row : std::vector<Row>{
           {"nobody else is listed: at once", {}, Kind::kFirst, "", 0},
           {"all reached, none synced, we are the oldest",
            {Joiner("b", false), Joiner("c", false)},
            Kind::kFirst,
            "",
            0},
           {"an elder is first",
            {Joiner("a", true), Joiner("b", false)},
            Kind::kWait,
            "waiting for pod-a, which is older, to be first"},
           {"an elder that is younger by its record is still first",
            {Joiner("b", false), Joiner("c", true)},
            Kind::kWait,
            "waiting for pod-c, which is older, to be first"},
           {"an elder is waited for whatever the time",
            {Joiner("a", true)},
            Kind::kWait,
            "waiting for pod-a, which is older, to be first",
            kLate},
           {"one that discovery tells nothing is waited for",
            {With(Joiner("a", true), kNotTold)},
            Kind::kWait,
            "waiting for pod-a, which is older, to be first, and has no answer from discovery",
            kTimeout - 1},
           {"but not for ever", {With(Joiner("a", true), kNotTold)}, Kind::kFirst, "", kTimeout},
           {"one not reached may be synced",
            {Joiner("b", false), Peer("c")},
            Kind::kWait,
            "waiting for pod-c (not reached)"},
           {"all missing are named",
            {Lost("a", true), Lost("b", false)},
            Kind::kWait,
            "waiting for pod-a (Ready, not reached: connection refused), "
            "pod-b (not reached: connection refused)"},
           {"only pods of another cluster: time to say so",
            {With(Lost("a", true), kForeign)},
            Kind::kWait,
            "waiting for pod-a (Ready, not reached: connection refused)",
            kTimeout - 1},
           {"and then on", {With(Lost("a", true), kForeign)}, Kind::kFirst, "", kTimeout},
           {"not Ready and not reached: first after bootstrap-timeout",
            {Lost("a", false)},
            Kind::kFirst,
            "",
            kTimeout},
           {"Ready and not reached: never",
            {Lost("a", true)},
            Kind::kWait,
            "waiting for pod-a (Ready, not reached: connection refused)",
            1'000'000'000},
           {"unless bootstrap-alone", {Lost("a", true)}, Kind::kFirst, "", kAloneMs, false, true},
           {"the donors died after the copy, unchecked: with what it has",
            {Joiner("b", false)},
            Kind::kFirst,
            "",
            2000,
            true},
       }) {
    Check(row);
  }
}

TEST_CASE("legacy peers give the copy where no synced peer is listed") {
  for (const Row& row : std::vector<Row>{
           {"the oldest of them", {Legacy("a"), Legacy("b")}, Kind::kCopy, "a"},
           {"then we are first", {Legacy("a")}, Kind::kFirst, "", 2000, false, false, true},
           {"an elder of ours does it",
            {Joiner("a", true), Legacy("b")},
            Kind::kWait,
            "waiting for pod-a, which is older, to be first"},
           {"a listed peer not reached yet may be synced",
            {Legacy("a"), Lost("b", true)},
            Kind::kWait,
            "waiting for pod-b (Ready, not reached: connection refused)"},
       }) {
    Check(row);
  }
}

TEST_CASE("a legacy donor that is slow is waited for") {
  Check({"busy", {With(Legacy("a"), kBusy)}, Kind::kWait, "waiting for a donor"});
}

}  // namespace
}  // namespace podmirror::sync
