// Large entries through the driver: they travel in fragments to and from a peer that takes them so,
// and whole to one that does not.
#include <catch2/catch.hpp>
#include <string>

#include "sync/sync_testing.h"

namespace podmirror::sync {
namespace {

constexpr std::size_t kLargeBytes = 5 * kFragmentBytes;

// A ready daemon, and a synced peer with a link to it that takes fragments.
struct Fixture {
  explicit Fixture(const NodeOptions& options = OptionsOf(1)) : node(options), peer(2, node) {
    peer.intro.features = kFeatures;
    node.StartAlone();
  }
  ConnId Connect() {
    node.driver.SetPeers(SetOf({2}));
    const ConnId conn = peer.Open(node);
    peer.Serve(node, conn);
    return conn;
  }
  void Write(const std::string& key, std::size_t bytes = 1) {
    node.Put(key, std::string(bytes, 'v'), {AckLevel::kAll, 100'000},
             [this, key](const WriteOutcome& o) {
               if (o.met) met.insert(key);
             });
  }
  // Answers the node's next message, or messages; false when there is none.
  bool ServeOne(ConnId conn) {
    std::optional<Message> message = node.driver.Next(conn);
    if (!message) return false;
    if (const auto* fragment = std::get_if<Fragment>(&*message)) sent += fragment->bytes.size();
    if (std::optional<Message> reply = peer.Answer(node, *message)) {
      node.driver.Receive(conn, std::move(*reply));
    }
    return true;
  }
  void Serve(ConnId conn) {
    while (ServeOne(conn)) {
    }
  }
  bool PeerHas(const std::string& key) const {
    return static_cast<bool>(peer.cache.Find(1, key, node.env.now().wall));
  }
  PeerStatus Status() const { return node.driver.Peers().at(0); }

  TestNode node;
  FakePeer peer;
  std::set<std::string> met;  // keys of the writes that all have acknowledged
  std::uint64_t sent = 0;     // bytes of fragments
};

using Keys = std::set<std::string>;

TEST_CASE("a large write travels beside the batch, and only it waits for its fragments") {
  Fixture f;
  const ConnId conn = f.Connect();
  f.Write("before");
  f.Write("large", kLargeBytes);
  f.Write("behind");
  const auto batch = Find<Batch>(f.node.Pull(conn));
  REQUIRE(batch);
  CHECK(batch->last_seq == 3);
  CHECK(batch->entries.size() == 2);
  f.node.driver.Receive(conn, Ack{3});
  CHECK(f.met == Keys{"before", "behind"});
  CHECK(f.Status().acked_seq == 1);
  CHECK(f.Status().behind_entries == 1);
  CHECK(f.Status().behind_bytes > kLargeBytes);
}

TEST_CASE("small writes pass between the fragments of a large one, of which one is under way") {
  Fixture f;
  const ConnId conn = f.Connect();
  f.Write("large", kLargeBytes);
  std::size_t fragments = 0;
  for (int i = 0; !f.met.contains("large"); ++i) {
    const std::vector<Message> messages = f.node.Pull(conn);
    CHECK(std::count_if(messages.begin(), messages.end(), [](const Message& message) {
            return std::holds_alternative<Fragment>(message);
          }) <= 1);
    fragments += Find<Fragment>(messages) ? 1 : 0;
    const auto answer = [&](bool batches) {
      for (const Message& message : messages) {
        if (std::holds_alternative<Batch>(message) != batches) continue;
        if (auto reply = f.peer.Answer(f.node, message)) f.node.driver.Receive(conn, *reply);
      }
    };
    answer(true);
    f.Write("small" + std::to_string(i));
    CHECK(f.ServeOne(conn));  // the batch, before the fragment is answered
    answer(false);
    REQUIRE(i < 100);
  }
  CHECK(fragments == kLargeBytes / kFragmentBytes + 1);
  f.Serve(conn);
  CHECK(f.PeerHas("large"));
  CHECK(f.Status().behind_entries == 0);
}

TEST_CASE("a peer that takes no fragments gets everything within the batch") {
  Fixture f;
  f.peer.intro.features = 0;
  const ConnId conn = f.Connect();
  f.Write("large", kLargeBytes);
  const auto messages = f.node.Pull(conn);
  REQUIRE(Find<Batch>(messages));
  CHECK(Find<Batch>(messages)->entries.size() == 1);
  CHECK_FALSE(Find<Fragment>(messages));
}

TEST_CASE("a large write that has come before its batch was acknowledged waits for that") {
  Fixture f;
  const ConnId conn = f.Connect();
  f.peer.acks = false;
  f.Write("large", kLargeBytes);
  f.Serve(conn);
  CHECK(f.PeerHas("large"));
  CHECK(f.met.empty());
  f.node.driver.Receive(conn, Ack{1});
  CHECK(f.met == Keys{"large"});
}

TEST_CASE("a write of several entries is acknowledged when its large ones have come") {
  Fixture f;
  const ConnId conn = f.Connect();
  const std::string large(kLargeBytes, 'v');
  std::vector<WriteItem> items(3);
  for (std::size_t i = 0; i < items.size(); ++i) {
    items[i].type = static_cast<std::int32_t>(i);
    items[i].key = "k";
    items[i].value = i == 1 ? std::string_view(large) : "v";
  }
  bool met = false;
  f.node.driver.Write(items, {AckLevel::kAll, 100'000},
                      [&](const WriteOutcome& o) { met = o.met; });
  f.node.driver.Next(conn);
  f.node.driver.Receive(conn, Ack{3});
  CHECK_FALSE(met);
  f.Serve(conn);
  CHECK(met);
}

TEST_CASE("after a reset a large write goes on where it was") {
  Fixture f;
  ConnId conn = f.Connect();
  f.Write("large", kLargeBytes);
  while (f.sent < 3 * kFragmentBytes) REQUIRE(f.ServeOne(conn));
  f.node.driver.Closed(conn, {Code::kUnavailable, "reset"});
  f.node.Run(1000);
  conn = f.peer.Open(f.node);
  f.Serve(conn);
  CHECK(f.PeerHas("large"));
  CHECK(f.sent < kLargeBytes + 2 * kFragmentBytes + 100);  // one is sent to hear where to go on
}

TEST_CASE("a large write that falls out of the backlog comes by a pass") {
  NodeOptions options = OptionsOf(1);
  options.backlog_bytes = 2 * kLargeBytes;
  Fixture f(options);
  const ConnId conn = f.Connect();
  f.Write("large", kLargeBytes);
  while (f.sent < 2 * kFragmentBytes) REQUIRE(f.ServeOne(conn));
  for (int i = 0; i < 30; ++i) f.Write("k" + std::to_string(i), 50'000);
  f.node.Run(100);
  f.Serve(conn);
  CHECK(f.PeerHas("large"));
  CHECK(f.met.contains("large"));
  CHECK(f.Status().behind_entries == 0);
  CHECK(f.sent < kLargeBytes + 2 * kFragmentBytes);
}

TEST_CASE("a drain waits for large writes on their way") {
  Fixture f;
  const ConnId conn = f.Connect();
  f.node.driver.BeginDrain();
  f.Serve(conn);
  f.node.Run(100);
  f.Serve(conn);
  REQUIRE(f.node.driver.drained());
  Fixture g;
  const ConnId other = g.Connect();
  g.Write("large", kLargeBytes);
  g.node.driver.BeginDrain();
  while (g.sent < 3 * kFragmentBytes) REQUIRE(g.ServeOne(other));
  CHECK_FALSE(g.node.driver.drained());
}

// --- a pass ---

TEST_CASE("a pass pulls what is large at the peer, and pushes what is large here") {
  Fixture f;
  const bool fragments = GENERATE(true, false);
  f.peer.intro.features = fragments ? kFeatures : 0;
  f.node.Put("here", std::string(kLargeBytes, 'v'));
  f.peer.cache.Merge(Entry::Make(1, "there", std::string(kLargeBytes, 'w'), {5, 1}), 0);
  f.node.driver.SetPeers(SetOf({2}));
  const ConnId conn = f.peer.Open(f.node);
  f.Serve(conn);
  CHECK(f.node.Has("there"));
  CHECK(f.PeerHas("here"));
  CHECK((f.sent > 0) == fragments);
  f.node.Run(Driver::kTickMs);
  CHECK(f.node.Saw(EventKind::kRepairDone));
}

TEST_CASE("a pass does not push what a large write brings") {
  NodeOptions options = OptionsOf(1);
  options.repair_interval_ms = 100;
  Fixture f(options);
  const ConnId conn = f.Connect();
  f.Write("large", kLargeBytes);
  while (f.sent < kFragmentBytes) REQUIRE(f.ServeOne(conn));
  f.node.Run(1000);
  const std::vector<Message> messages = f.node.Pull(conn);
  REQUIRE(Find<SumsRequest>(messages));
  for (const Message& message : messages) {
    if (const auto* fragment = std::get_if<Fragment>(&message)) f.sent += fragment->bytes.size();
    if (auto reply = f.peer.Answer(f.node, message)) f.node.driver.Receive(conn, *reply);
  }
  f.Serve(conn);
  CHECK(f.met.contains("large"));
  CHECK(f.sent < kLargeBytes + kFragmentBytes);
}

// Or its push would wait for a pull that nobody goes on with, and its pass with it.
TEST_CASE("what a pass does not need any more is taken at once from the peer's own stream") {
  Fixture f;
  const EntryRef there = Entry::Make(1, "there", std::string(kLargeBytes, 'w'), {5, 1});
  f.peer.cache.Merge(there, 0);
  ConnId inbound = 0;
  f.node.driver.SetPeers(SetOf({2}));
  REQUIRE(f.peer.SayHello(f.node, &inbound)->refusal == RefusalReason::kNone);
  const ConnId conn = f.peer.Open(f.node);
  bool asked = false;
  while (!asked) {
    const std::optional<Message> message = f.node.driver.Next(conn);
    REQUIRE(message);
    asked = std::holds_alternative<FragmentRequest>(*message);
    if (auto reply = f.peer.Answer(f.node, *message)) f.node.driver.Receive(conn, *reply);
  }
  f.node.Put("there", "newer");
  f.Serve(conn);
  f.node.driver.Receive(inbound, Cut({there, kFragmentBytes, kFragmentBytes, false}));
  const auto reply = Find<FragmentReply>(f.node.Pull(inbound));
  REQUIRE(reply);
  CHECK_FALSE(reply->later);
  CHECK(reply->next == 2 * kFragmentBytes);
}

TEST_CASE("what the peer has not any more makes the pass begin again") {
  Fixture f;
  f.peer.cache.Merge(Entry::Make(1, "there", std::string(kLargeBytes, 'w'), {5, 1}), 0);
  f.node.driver.SetPeers(SetOf({2}));
  const ConnId conn = f.peer.Open(f.node);
  std::optional<Message> message;
  while ((message = f.node.driver.Next(conn))) {
    if (const auto* request = std::get_if<FragmentRequest>(&*message)) {
      f.node.driver.Receive(conn, Fragment{request->id, 0, 0, {}, false});
      break;
    }
    if (auto reply = f.peer.Answer(f.node, *message)) f.node.driver.Receive(conn, *reply);
  }
  f.node.Run(2 * Driver::kTickMs);
  CHECK_FALSE(f.node.Saw(EventKind::kRepairDone));
  CHECK(Find<SumsRequest>(f.node.Pull(conn)));
}

TEST_CASE("a newer large entry comes in the place of the one that was listed") {
  Fixture f;
  f.peer.cache.Merge(Entry::Make(1, "there", std::string(kLargeBytes, 'w'), {5, 1}), 0);
  f.node.driver.SetPeers(SetOf({2}));
  const ConnId conn = f.peer.Open(f.node);
  bool asked = false;
  while (std::optional<Message> message = f.node.driver.Next(conn)) {
    if (std::holds_alternative<FragmentRequest>(*message) && !std::exchange(asked, true)) {
      f.peer.cache.Merge(Entry::Make(1, "there", std::string(kLargeBytes, 'x'), {6, 1}), 0);
    }
    if (auto reply = f.peer.Answer(f.node, *message)) f.node.driver.Receive(conn, *reply);
  }
  REQUIRE(f.node.Has("there"));
  CHECK(f.node.cache.Peek(1, "there")->version().hlc == 6);
}

// --- the accepting side ---

struct Accepted : Fixture {
  explicit Accepted(std::uint64_t features = kFeatures) {
    peer.intro.features = features;
    peer.SayHello(node, &conn);
  }
  // Sends all of it; the last answer.
  std::optional<FragmentReply> Push(const EntryRef& entry) {
    std::optional<FragmentReply> reply;
    do {
      const std::uint64_t offset = reply ? reply->next : 0;
      node.driver.Receive(conn, Cut({entry, offset, kFragmentBytes, true}));
      reply = Find<FragmentReply>(node.Pull(conn));
    } while (reply && reply->next < entry->packed_size());
    return reply;
  }
  EntryRef Large(std::uint64_t hlc) const {
    return Entry::Make(1, "k", std::string(kLargeBytes, 'v'), {hlc, 7});
  }
  ConnId conn = 0;
};

TEST_CASE("fragments of a dialler are put together, merged, then acknowledged") {
  Accepted f;
  REQUIRE(f.Push(f.Large(HlcOf(kStartWall))));
  CHECK(f.node.Has("k"));
}

TEST_CASE("fragments that must not be close the stream") {
  Accepted f;
  SECTION("a clock far ahead") { CHECK_FALSE(f.Push(f.Large(HlcOf(kStartWall + 25 * 3'600'000)))); }
  SECTION("before the hello") {
    f.conn = f.node.driver.Accept();
    CHECK_FALSE(f.Push(f.Large(HlcOf(kStartWall))));
  }
  SECTION("of something else than they say") {
    const EntryRef entry = f.Large(HlcOf(kStartWall));
    Fragment fragment = Cut({entry, 0, 0, true});
    ++fragment.id.key_hash;
    for (std::uint64_t at = 0; at < entry->packed_size(); at += kFragmentBytes) {
      fragment.offset = at;
      fragment.bytes = entry->Packed(at, kFragmentBytes);
      f.node.driver.Receive(f.conn, fragment);
      f.node.Pull(f.conn);
    }
  }
  CHECK(f.node.transport.closed.contains(f.conn));
  CHECK_FALSE(f.node.Has("k"));
}

TEST_CASE("a copy leaves large entries out for who takes fragments, and for no other") {
  const bool fragments = GENERATE(true, false);
  Accepted f(fragments ? kFeatures : 0);
  f.node.Put("small", "v");
  f.node.Put("large", std::string(kLargeBytes, 'v'));
  std::size_t copied = 0;
  for (Position at; at.bucket < kBuckets;) {
    f.node.driver.Receive(f.conn, Fetch{at});
    const auto reply = Find<FetchReply>(f.node.Pull(f.conn));
    REQUIRE(reply);
    copied += reply->entries.size();
    at = reply->next;
  }
  CHECK(copied == (fragments ? 1 : 2));
  Offer offer;
  for (std::uint32_t bucket = 0; bucket < kBuckets; ++bucket) offer.buckets.push_back(bucket);
  f.node.driver.Receive(f.conn, offer);
  const auto answer = Find<OfferReply>(f.node.Pull(f.conn));
  REQUIRE(answer);
  CHECK(answer->entries.size() == (fragments ? 1 : 2));
  CHECK(answer->large.size() == (fragments ? 1 : 0));
}

TEST_CASE("an answer that leaves something over is as full as its asker expects") {
  Accepted f(0);
  for (int i = 0; i < 50; ++i) f.node.Put("k" + std::to_string(i), std::string(50'000, 'v'));
  Offer offer;
  for (std::uint32_t bucket = 0; bucket < kBuckets; ++bucket) offer.buckets.push_back(bucket);
  f.node.driver.Receive(f.conn, offer);
  const auto answer = Find<OfferReply>(f.node.Pull(f.conn));
  REQUIRE(answer);
  CHECK(answer->next != 0);
  CHECK(answer->entries.size() * 50'000 > kOldChunkBytes - 50'000);
}

}  // namespace
}  // namespace podmirror::sync
