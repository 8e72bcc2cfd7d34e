// What the tests of the sync core share: time and chance in the hands of the test, a transport that
// only takes notes, and a peer that answers as a daemon would, or does not.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <limits>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "cache/cache.h"
#include "sync/driver.h"

namespace podmirror::sync {

inline constexpr WallMs kStartWall = 1'700'000'000'000;

class FakeEnv final : public Env {
 public:
  Now now() const override { return now_; }
  std::uint64_t Random() override { return random_ += 0x9E3779B97F4A7C15; }
  void Advance(std::int64_t ms) { now_ = {now_.steady + ms, now_.wall + ms}; }
  void Set(WallMs wall) { now_.wall = wall; }  // somebody sets the clock

 private:
  Now now_{1'000'000, kStartWall};
  std::uint64_t random_ = 1;
};

struct FakeTransport final : public Transport {
  struct Dialled {
    ConnId conn;
    std::string peer;
    bool legacy;
  };
  void Dial(ConnId conn, const PodRecord& peer, bool legacy) override {
    dials.push_back({conn, peer.id(), legacy});
  }
  void Wake(ConnId conn) override { woken.insert(conn); }
  void Close(ConnId conn) override { closed.insert(conn); }

  std::vector<Dialled> dials;
  std::set<ConnId> woken;
  std::set<ConnId> closed;
};

inline NodeOptions OptionsOf(int pod) {
  NodeOptions options;
  const std::string number = std::to_string(pod);
  options.self = {"pod-" + number, "default", "uid-" + number, "sim"};
  options.cluster = "default/test";
  options.process_started_ms = kStartWall + pod;
  return options;
}

inline PodRecord RecordOf(int pod, bool ready = false) {
  const std::string number = std::to_string(pod);
  return {"uid-" + number, "pod-" + number, "sim",           static_cast<std::uint16_t>(pod),
          "Running",       ready,           kStartWall + pod};
}

inline PeerSet SetOf(const std::vector<int>& pods) {
  PeerSet set;
  for (const int pod : pods) set.peers.push_back(RecordOf(pod));
  set.self_listed = true;
  return set;
}

inline const auto kIgnoreOutcome = [](const WriteOutcome&) {};

// A daemon under test with everything that it touches. Pod numbers give the order of age.
struct TestNode {
  explicit TestNode(const NodeOptions& options)
      : driver(options, cache, env, transport,
               [this](const Event& event) { events.push_back(event); }) {}

  // Knowingly first: no peer is listed.
  void StartAlone() { driver.SetPeers(SetOf({})); }

  // All that the node wants to send on the stream now.
  std::vector<Message> Pull(ConnId conn) {
    std::vector<Message> messages;
    while (std::optional<Message> message = driver.Next(conn)) {
      messages.push_back(std::move(*message));
    }
    return messages;
  }

  // The last stream dialled to the peer; 0 when there is none.
  ConnId DialledTo(const std::string& peer) const {
    ConnId conn = 0;
    for (const FakeTransport::Dialled& dial : transport.dials) {
      if (dial.peer == peer) conn = dial.conn;
    }
    return conn;
  }

  // Moves time on in the steps of the real ticker.
  void Run(std::int64_t ms, std::int64_t step = Driver::kTickMs) {
    for (std::int64_t passed = 0; passed < ms; passed += step) {
      env.Advance(step);
      driver.Tick();
    }
  }

  WriteRefusal Put(const std::string& key, const std::string& value,
                   WriteOptions options = {AckLevel::kLocal, 1000},
                   WriteDone done = kIgnoreOutcome) {
    WriteItem item;
    item.type = 1;
    item.key = key;
    item.value = value;
    return driver.Write({&item, 1}, options, std::move(done));
  }
  WriteRefusal Delete(const std::string& key, WriteOptions options = {AckLevel::kLocal, 1000},
                      WriteDone done = kIgnoreOutcome) {
    WriteItem item;
    item.type = 1;
    item.key = key;
    item.remove = true;
    return driver.Write({&item, 1}, options, std::move(done));
  }

  bool Has(const std::string& key) const {
    return static_cast<bool>(cache.Find(1, key, env.now().wall));
  }
  bool Saw(EventKind kind) const {
    return std::any_of(events.begin(), events.end(),
                       [kind](const Event& event) { return event.kind == kind; });
  }

  FakeEnv env;
  Cache cache;
  FakeTransport transport;
  std::vector<Event> events;
  Driver driver;
};

template <typename T>
std::optional<T> Find(const std::vector<Message>& messages) {
  for (const Message& message : messages) {
    if (const T* found = std::get_if<T>(&message)) return *found;
  }
  return std::nullopt;
}

// The far end of the node's streams.
struct FakePeer {
  FakePeer(int pod, const TestNode& node) {
    const NodeOptions options = OptionsOf(pod);
    id = options.self.uid;
    intro.name = options.self.name;
    intro.uid = options.self.uid;
    intro.cluster = options.cluster;
    intro.incarnation = 0xA0000 + static_cast<Incarnation>(pod);
    intro.process_started_ms = options.process_started_ms;
    intro.synced = true;
    intro.hlc = HlcOf(node.env.now().wall);
  }

  // Takes the handshake on the stream that the node dialled last; returns the stream.
  ConnId Open(TestNode& node) {
    const ConnId conn = node.DialledTo(id);
    node.driver.Opened(conn);
    (void)node.Pull(conn);
    HelloReply reply;
    reply.self = intro;
    reply.legacy = legacy;
    reply.link_open = link_open;
    node.driver.Receive(conn, reply);
    return conn;
  }

  // Says hello on a stream of its own; returns the answer, or nothing when there is none.
  std::optional<HelloReply> SayHello(TestNode& node, ConnId* conn = nullptr) const {
    const ConnId inbound = node.driver.Accept();
    if (conn != nullptr) *conn = inbound;
    node.driver.Receive(inbound, Hello{intro, {}});
    return Find<HelloReply>(node.Pull(inbound));
  }

  // Answers whatever the node sends until it is quiet. Returns how many messages it sent.
  std::size_t Serve(TestNode& node, ConnId conn) {
    std::size_t count = 0;
    while (std::optional<Message> message = node.driver.Next(conn)) {
      ++count;
      if (std::optional<Message> reply = Answer(node, *message)) {
        node.driver.Receive(conn, std::move(*reply));
      }
    }
    return count;
  }

  std::optional<Message> Answer(const TestNode& node, const Message& message) {
    if (const auto* batch = std::get_if<Batch>(&message)) {
      Merge(node, batch->entries);
      if (!acks) return std::nullopt;
      return Ack{batch->last_seq};
    }
    if (std::holds_alternative<Heartbeat>(message)) {
      return Heartbeat{HlcOf(node.env.now().wall),
                       contact,
                       bound,
                       intro.purge_floor,
                       intro.synced,
                       link_open,
                       draining};
    }
    if (!answers) return std::nullopt;
    if (const auto* sums = std::get_if<SumsRequest>(&message)) return AnswerSums(cache, *sums);
    const Asker asker{0, (intro.features & kFragmentsFeature) != 0};
    if (const auto* offer = std::get_if<Offer>(&message)) return AnswerOffer(cache, *offer, asker);
    if (const auto* fetch = std::get_if<Fetch>(&message)) return AnswerFetch(cache, *fetch, asker);
    if (const auto* request = std::get_if<FragmentRequest>(&message)) {
      return AnswerFragment(cache, *request);
    }
    if (const auto* fragment = std::get_if<Fragment>(&message)) {
      const auto taken = TakeFragment(cache, assembly, 1, *fragment, node.env.now().steady,
                                      node.env.now().wall, {});
      return FragmentReply{fragment->id, taken.next, taken.later, taken.dead};
    }
    if (const auto* push = std::get_if<Push>(&message)) {
      Merge(node, push->entries);
      return PushReply{push->pass};
    }
    return std::nullopt;
  }

  void Merge(const TestNode& node, const std::vector<EntryRef>& entries) {
    for (const EntryRef& entry : entries) cache.Merge(entry, node.env.now().wall);
  }

  std::string id;
  Introduction intro;
  Cache cache;
  Assembly assembly;
  bool acks = true;
  bool answers = true;  // questions of passes and copies
  bool link_open = true;
  bool legacy = false;  // it speaks hellorpc.Sync only
  bool draining = false;
  // As its heartbeats tell.
  std::uint64_t contact = std::numeric_limits<std::uint64_t>::max();
  std::uint64_t bound = std::numeric_limits<std::uint64_t>::max();
};

}  // namespace podmirror::sync
