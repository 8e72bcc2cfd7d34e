#include "sync/driver.h"

#include <algorithm>
#include <utility>

#include "base/processor.h"

namespace podmirror::sync {
namespace {

thread_local Driver::Round* this_round = nullptr;

constexpr std::int64_t kSweepMs = 250;
// Tombstones forgotten in one Tick: some 50 ms. A million at once would keep heartbeats waiting.
constexpr std::uint64_t kPurgedPerTick = 65'536;

// Of a chunk of a copy: whoever waits for this processor goes first. On few processors those are
// the threads that others' writes need, and a scheduler may let a busy thread run for milliseconds.
constexpr std::size_t kMergedInOneGo = 256;

void MergeCopy(Cache& cache, std::span<const EntryRef> entries, WallMs now) {
  while (!entries.empty()) {
    YieldProcessor();
    const auto some = entries.first(std::min(entries.size(), kMergedInOneGo));
    cache.MergeAll(some, now);
    entries = entries.subspan(some.size());
  }
}

// A batch that holds writes on a condition: in its order, and with what was there for these.
Merged MergeBatch(Cache& cache, const Batch& batch, WallMs now,
                  std::optional<std::uint64_t> dead_floor) {
  Merged merged;
  std::size_t done = 0;
  const auto up_to = [&](std::size_t end) {
    const std::span<const EntryRef> some = std::span(batch.entries).subspan(done, end - done);
    for (const std::uint32_t place : cache.MergeAll(some, now, dead_floor)) {
      merged.dead.push_back(static_cast<std::uint32_t>(done) + place);
    }
  };
  for (const auto& [place, base] : batch.bases) {
    up_to(place);
    const EntryRef& entry = batch.entries[place];
    merged.told.push_back(cache.MergeAndTell(entry, now, dead_floor));
    if (merged.told.back().result == MergeResult::kPurged && !entry->tombstone() &&
        !entry->expired(now)) {
      merged.dead.push_back(place);
    }
    done = place + 1;
  }
  up_to(batch.entries.size());
  return merged;
}

// Merges what a message brought; without the driver's lock.
Merged MergeEntries(Cache& cache, const Message& message, WallMs now,
                    std::optional<std::uint64_t> dead_floor) {
  const std::vector<EntryRef>* entries = EntriesOf(message);
  if (std::holds_alternative<FetchReply>(message)) {
    MergeCopy(cache, *entries, now);
  } else if (const auto* batch = std::get_if<Batch>(&message); batch && !batch->bases.empty()) {
    return MergeBatch(cache, *batch, now, dead_floor);
  } else if (entries != nullptr) {
    return {cache.MergeAll(*entries, now, dead_floor), {}};
  }
  return {};
}

}  // namespace

Driver::Driver(NodeOptions options, Cache& cache, Env& env, Transport& transport, Observer observer)
    : cache_(cache),
      env_(env),
      transport_(transport),
      observer_(std::move(observer)),
      node_(
          std::move(options), cache, assembly_, [&env] { return env.Random(); }, env.now()),
      incarnation_(node_.incarnation()) {}

// Steps the node and carries out what it wants done.
void Driver::Pump(absl::FunctionRef<void(Node&, Now)> step) {
  Ready ready;
  {
    absl::MutexLock lock(&mu_);
    const Now now = env_.now();
    step(node_, now);
    ready = node_.TakeReady();
    ready_.store(node_.ready(), std::memory_order_relaxed);
    expired_by_.store(node_.ExpiredBy(now), std::memory_order_relaxed);
  }
  for (const ConnId conn : ready.closes) {
    assembly_.Left(conn);
    transport_.Close(conn);
  }
  for (const Ready::DialRequest& dial : ready.dials) {
    transport_.Dial(dial.conn, dial.peer, dial.legacy);
  }
  Wake(ready.wakes);
  for (auto& [done, outcome] : ready.completions) done(outcome);
  if (observer_) {
    for (const Event& event : ready.events) observer_(event);
  }
  if (ready.unknown_peer && on_unknown_peer_) on_unknown_peer_();
}

void Driver::Wake(const std::vector<ConnId>& conns) {
  if (this_round == nullptr || &this_round->driver_ != this) {
    for (const ConnId conn : conns) transport_.Wake(conn);
    return;
  }
  std::vector<ConnId>& kept = this_round->wakes_;
  for (const ConnId conn : conns) {
    if (std::find(kept.begin(), kept.end(), conn) == kept.end()) kept.push_back(conn);
  }
}

Driver::Round::Round(Driver& driver) : driver_(driver) { this_round = this; }

Driver::Round::~Round() {
  this_round = nullptr;
  driver_.Wake(wakes_);
}

WriteRefusal Driver::Write(std::span<const WriteItem> items, const WriteOptions& options,
                           WriteDone done) {
  WriteRefusal refusal = WriteRefusal::kNone;
  Drafts drafts(items, cache_, incarnation_, env_.now().wall);
  Pump([&](Node& node, Now now) { refusal = node.Write(now, drafts, options, std::move(done)); });
  return refusal;
}

WriteRefusal Driver::WriteLocal(std::span<const WriteItem> items) {
  WriteRefusal refusal = WriteRefusal::kNone;
  Drafts drafts(items, cache_, incarnation_, env_.now().wall);
  Pump([&](Node& node, Now now) { refusal = node.WriteLocal(now, drafts); });
  return refusal;
}

NodeStatus Driver::Status() const {
  absl::MutexLock lock(&mu_);
  NodeStatus status = node_.Status(env_.now());
  status.expired = expired_.load(std::memory_order_relaxed);
  return status;
}

std::vector<PeerStatus> Driver::Peers() const {
  absl::MutexLock lock(&mu_);
  return node_.Peers(env_.now());
}

void Driver::SetPeers(const PeerSet& set) {
  Pump([&](Node& node, Now now) { node.SetPeers(now, set); });
}

void Driver::DiscoveryFailed(const std::string& error) {
  Pump([&](Node& node, Now) { node.DiscoveryFailed(error); });
}

ConnId Driver::Accept() {
  ConnId conn = 0;
  Pump([&](Node& node, Now now) { conn = node.Accept(now); });
  return conn;
}

void Driver::Opened(ConnId conn) {
  Pump([&](Node& node, Now now) { node.Opened(now, conn); });
}

void Driver::Receive(ConnId conn, Message message) {
  Arrival arrival{conn, std::move(message)};
  while (Step(arrival)) {
  }
}

bool Driver::Step(Arrival& arrival) {
  switch (arrival.next) {
    case Arrival::Next::kAdmit: {
      Node::Admission admission;
      Pump([&](Node& node, Now now) {
        admission = node.Admit(now, arrival.conn, arrival.message);
        if (admission.kind == Node::Admission::kMessageOnly) {
          node.Received(now, arrival.conn, arrival.message, {});
        }
      });
      arrival.next = Arrival::Next::kNone;
      if (admission.kind != Node::Admission::kMerge) break;
      if (const auto* fragment = std::get_if<Fragment>(&arrival.message)) {
        ReceiveFragment(arrival.conn, *fragment, admission.dead_floor);
        break;
      }
      arrival.dead_floor = admission.dead_floor;
      arrival.next = Arrival::Next::kMerge;
      break;
    }
    case Arrival::Next::kMerge:
      arrival.merged = MergeEntries(
          cache_, arrival.message, expired_by_.load(std::memory_order_relaxed), arrival.dead_floor);
      arrival.next = Arrival::Next::kReceived;
      break;
    case Arrival::Next::kReceived:
      Pump([&](Node& node, Now now) {
        node.Received(now, arrival.conn, arrival.message, arrival.merged);
      });
      arrival.next = Arrival::Next::kNone;
      break;
    case Arrival::Next::kNone:
      break;
  }
  return arrival.next != Arrival::Next::kNone;
}

void Driver::ReceiveFragment(ConnId conn, const Fragment& fragment,
                             std::optional<std::uint64_t> dead_floor) {
  const Assembly::Taken taken =
      TakeFragment(cache_, assembly_, conn, fragment, env_.now().steady,
                   expired_by_.load(std::memory_order_relaxed), dead_floor);
  Pump([&](Node& node, Now now) { node.FragmentTaken(now, conn, fragment, taken); });
}

Outgoing Driver::Pull(ConnId conn) {
  Outgoing outgoing;
  Pump([&](Node& node, Now now) { outgoing = node.Next(now, conn); });
  return outgoing;
}

std::optional<Message> Driver::Next(ConnId conn) {
  Outgoing outgoing = Pull(conn);
  if (auto* message = std::get_if<Message>(&outgoing)) return std::move(*message);
  if (const auto* question = std::get_if<Question>(&outgoing)) return AnswerTo(*question);
  return std::nullopt;
}

void Driver::Closed(ConnId conn, const podmirror::Status& status) {
  assembly_.Left(conn);
  Pump([&](Node& node, Now now) { node.Closed(now, conn, status); });
}

void Driver::Tick() {
  const Now now = env_.now();
  if (now.steady >= sweep_at_) {
    sweep_at_ = now.steady + kSweepMs;
    expired_ += cache_.Sweep(std::min(now.wall, expired_by_.load(std::memory_order_relaxed)));
    assembly_.Sweep(now.steady);
  }
  Pump([](Node& node, Now at) { node.Tick(at); });
  cache_.Purge(kPurgedPerTick);
}

void Driver::CredentialsChanged() {
  Pump([](Node& node, Now) { node.CredentialsChanged(); });
}

void Driver::Leave() {
  Pump([](Node& node, Now) { node.Leave(); });
}

void Driver::BeginDrain() {
  Pump([](Node& node, Now now) { node.BeginDrain(now); });
}

void Driver::EndWaits() {
  Pump([](Node& node, Now) { node.EndWaits(); });
}

bool Driver::drained() const {
  absl::MutexLock lock(&mu_);
  return node_.drained();
}

}  // namespace podmirror::sync
