#include "sim/sim_world.h"

#include <algorithm>
#include <iostream>
#include <tuple>

namespace podmirror::sim {
namespace {

constexpr WallMs kEpoch = 1'700'000'000'000;

std::string UidOf(int pod) { return "uid-" + std::to_string(pod); }
std::string NameOf(int pod) { return "pod-" + std::to_string(pod); }

}  // namespace

class SimWorld::SimEnv final : public Env {
 public:
  SimEnv(SimWorld& world, WallMs skew) : world_(world), skew_(skew) {}
  Now now() const override { return {world_.now_, kEpoch + world_.now_ + skew_}; }
  std::uint64_t Random() override { return world_.Random(); }

 private:
  SimWorld& world_;
  const WallMs skew_;
};

// One side of a stream.
struct SimWorld::End {
  Process* process = nullptr;
  sync::ConnId conn = 0;
  bool writing = false;                 // a message is on its way into the network
  std::deque<sync::Message> in_flight;  // towards this end
  bool delivering = false;
};

struct SimWorld::Stream {
  bool ended = false;
  End ends[2];
};

class SimWorld::SimTransport final : public sync::Transport {
 public:
  SimTransport(SimWorld& world, Process* process) : world_(world), process_(process) {}
  void Dial(sync::ConnId conn, const PodRecord& peer, bool) override {
    world_.Dial(process_, conn, peer);
  }
  void Wake(sync::ConnId conn) override { world_.Wake(process_, conn); }
  void Close(sync::ConnId conn) override { world_.Close(process_, conn); }

 private:
  SimWorld& world_;
  Process* const process_;
};

struct SimWorld::Process {
  int pod = 0;
  bool alive = true;
  bool was_ready = false;
  std::unique_ptr<SimEnv> env;
  std::unique_ptr<Cache> cache;
  std::unique_ptr<SimTransport> transport;
  std::unique_ptr<sync::Driver> driver;
  std::map<sync::ConnId, std::pair<std::shared_ptr<Stream>, int>> streams;  // and our side
};

SimWorld::SimWorld(SimOptions options) : options_(options), random_(options.seed) {}
SimWorld::~SimWorld() = default;

void SimWorld::At(SteadyMs when, std::function<void()> what) {
  queue_.emplace(Scheduled{std::max(when, now_), order_++}, std::move(what));
}

void SimWorld::RunUntil(SteadyMs until) {
  while (!queue_.empty() && queue_.begin()->first.when <= until) {
    auto node = queue_.extract(queue_.begin());
    now_ = node.key().when;
    node.mapped()();
  }
  now_ = until;
}

void SimWorld::Trace(int pod, const std::string& text) {
  if (options_.trace) std::cout << now_ << " " << NameOf(pod) << " " << text << "\n";
  if (on_trace) on_trace(pod, text);
}

// --- pods ---

PodRecord SimWorld::RecordOf(int pod) const {
  PodRecord record;
  record.uid = UidOf(pod);
  record.name = NameOf(pod);
  record.ip = "sim";
  record.port = static_cast<std::uint16_t>(pod);
  record.phase = "Running";
  record.started_at_ms = started_.at(pod);
  const auto running = current_.find(pod);
  record.ready = running != current_.end() && running->second->driver->ready();
  return record;
}

void SimWorld::PublishRecords() {
  for (const auto& [pod, process] : current_) {
    Process* const to = process;
    PeerSet set;
    set.self_listed = true;
    set.self_started_at_ms = started_.at(pod);
    for (const auto& [other, since] : started_) {
      if (other != pod) set.peers.push_back(RecordOf(other));
    }
    std::sort(set.peers.begin(), set.peers.end(), OlderThan);
    At(now_ + 1 + static_cast<SteadyMs>(Below(500)), [to, set] {
      if (to->alive) to->driver->SetPeers(set);
    });
  }
}

void SimWorld::StartPod(int pod) {
  auto owned = std::make_unique<Process>();
  Process* const process = owned.get();
  processes_.push_back(std::move(owned));
  process->pod = pod;
  process->env = std::make_unique<SimEnv>(*this, static_cast<WallMs>(Below(2000)) - 1000);
  process->cache = std::make_unique<Cache>();
  process->transport = std::make_unique<SimTransport>(*this, process);
  sync::NodeOptions options;
  options.self = {NameOf(pod), "sim", UidOf(pod), "sim"};
  options.cluster = "sim";
  options.process_started_ms = process->env->now().wall;
  options.backlog_bytes = options_.backlog_bytes;
  options.repair_interval_ms = options_.repair_interval_ms;
  options.tombstone_ttl_ms = options_.tombstone_ttl_ms;
  process->driver = std::make_unique<sync::Driver>(
      options, *process->cache, *process->env, *process->transport,
      [this, pod](const sync::Event& event) {
        std::string text(ToString(event.kind));
        text += " " + event.peer + " " + event.detail;
        for (const auto& [name, number] : event.numbers) {
          text += " " + std::string(name) + "=" + std::to_string(number);
        }
        Trace(pod, text);
      });
  current_[pod] = process;
  started_[pod] = kEpoch + now_;
  paused_.erase(pod);
  Trace(pod, "started");
  PublishRecords();
  TickProcess(process);
}

void SimWorld::TickProcess(Process* process) {
  if (!process->alive) return;
  if (!paused_.contains(process->pod)) {
    process->driver->Tick();
    if (process->driver->ready() && !process->was_ready) {
      process->was_ready = true;
      if (on_ready) on_ready(process->pod);
      PublishRecords();  // Ready=True
    }
  }
  At(now_ + sync::Driver::kTickMs, [this, process] { TickProcess(process); });
}

void SimWorld::CrashPod(int pod, bool silent) {
  Process* const process = current_.at(pod);
  Trace(pod, silent ? "gone" : "crashed");
  process->alive = false;
  current_.erase(pod);
  paused_.erase(pod);
  auto streams = std::exchange(process->streams, {});
  for (auto& [conn, place] : streams) {
    if (!silent) EndStream(place.first, "reset", place.second);
  }
}

void SimWorld::DropRecord(int pod) {
  started_.erase(pod);
  PublishRecords();
}

void SimWorld::PausePod(int pod, bool paused) {
  Trace(pod, paused ? "paused" : "continued");
  if (paused) {
    paused_.insert(pod);
    return;
  }
  paused_.erase(pod);
  for (auto& [conn, place] : current_.at(pod)->streams) {
    const auto [stream, side] = place;
    At(now_, [this, stream = stream, side = side] {
      PumpEnd(stream, side);
      Deliver(stream, side);
    });
  }
}

// --- network ---

void SimWorld::SetPartition(int a, int b, bool cut) {
  const std::pair<int, int> key{std::min(a, b), std::max(a, b)};
  Trace(a, (cut ? "cut from " : "joined with ") + NameOf(b));
  if (cut) {
    cuts_.insert(key);
    return;
  }
  cuts_.erase(key);
  for (const int pod : {a, b}) {
    if (!running(pod)) continue;
    for (auto& [conn, place] : current_.at(pod)->streams) {
      const auto [stream, side] = place;
      At(now_, [this, stream = stream, side = side] { Deliver(stream, side); });
    }
  }
}

void SimWorld::HealAll() {
  const auto cuts = cuts_;
  for (const auto& [a, b] : cuts) SetPartition(a, b, false);
  const auto paused = paused_;
  for (const int pod : paused) PausePod(pod, false);
}

void SimWorld::ResetStreams(int a, int b) {
  if (!running(a)) return;
  const auto streams = current_.at(a)->streams;
  for (const auto& [conn, place] : streams) {
    const Process* other = place.first->ends[1 - place.second].process;
    if (other != nullptr && other->pod == b) EndStream(place.first, "reset", -1);
  }
}

void SimWorld::Dial(Process* from, sync::ConnId conn, const PodRecord& peer) {
  auto stream = std::make_shared<Stream>();
  stream->ends[0].process = from;
  stream->ends[0].conn = conn;
  from->streams[conn] = {stream, 0};
  const int pod = peer.port;
  At(now_ + 1 + static_cast<SteadyMs>(Below(20)), [this, from, conn, stream, pod] {
    if (!from->alive || stream->ended) return;
    if (Cut(from->pod, pod)) return;  // nothing answers; the dialler gives up by itself
    if (!running(pod)) {
      EndStream(stream, "connection refused", -1);
      return;
    }
    Process* const to = current_.at(pod);
    stream->ends[1].process = to;
    stream->ends[1].conn = to->driver->Accept();
    to->streams[stream->ends[1].conn] = {stream, 1};
    from->driver->Opened(conn);
  });
}

void SimWorld::Wake(Process* from, sync::ConnId conn) {
  const auto found = from->streams.find(conn);
  if (found == from->streams.end()) return;
  const auto [stream, side] = found->second;
  At(now_, [this, stream = stream, side = side] { PumpEnd(stream, side); });
}

void SimWorld::PumpEnd(const std::shared_ptr<Stream>& stream, int side) {
  End& end = stream->ends[side];
  End& other = stream->ends[1 - side];
  if (stream->ended || end.writing || !end.process->alive || other.process == nullptr) return;
  if (paused_.contains(end.process->pod)) return;
  std::optional<sync::Message> message = end.process->driver->Next(end.conn);
  if (!message) return;
  end.writing = true;
  other.in_flight.push_back(std::move(*message));
  const SteadyMs delay = 1 + static_cast<SteadyMs>(Below(OneIn(20) ? 200 : 5));
  At(now_ + delay, [this, stream, side] {
    stream->ends[side].writing = false;
    Deliver(stream, 1 - side);
    PumpEnd(stream, side);
  });
}

void SimWorld::Deliver(const std::shared_ptr<Stream>& stream, int side) {
  End& end = stream->ends[side];
  const End& other = stream->ends[1 - side];
  if (end.delivering) return;
  end.delivering = true;
  while (!stream->ended && !end.in_flight.empty() && end.process->alive &&
         !paused_.contains(end.process->pod) && !Cut(end.process->pod, other.process->pod)) {
    sync::Message message = std::move(end.in_flight.front());
    end.in_flight.pop_front();
    end.process->driver->Receive(end.conn, std::move(message));
  }
  end.delivering = false;
}

// Ends the stream for both sides; the side `except` is not told.
void SimWorld::EndStream(const std::shared_ptr<Stream>& stream, const std::string& why,
                         int except) {
  if (std::exchange(stream->ended, true)) return;
  for (int side = 0; side < 2; ++side) {
    End& end = stream->ends[side];
    if (end.process == nullptr || !end.process->alive) continue;
    end.process->streams.erase(end.conn);
    if (side == except) continue;
    At(now_ + 1 + static_cast<SteadyMs>(Below(5)), [end, why] {
      if (end.process->alive) end.process->driver->Closed(end.conn, {Code::kUnavailable, why});
    });
  }
}

void SimWorld::Close(Process* from, sync::ConnId conn) {
  const auto found = from->streams.find(conn);
  if (found == from->streams.end()) return;
  const auto [stream, side] = found->second;
  const Process* other = stream->ends[1 - side].process;
  if (other != nullptr && Cut(from->pod, other->pod)) {
    from->streams.erase(conn);  // the other side does not hear of it
    return;
  }
  EndStream(stream, "closed by peer", side);
}

// --- what to look at ---

sync::Driver& SimWorld::driver(int pod) { return *current_.at(pod)->driver; }
Cache& SimWorld::cache(int pod) { return *current_.at(pod)->cache; }
WallMs SimWorld::wall(int pod) const { return current_.at(pod)->env->now().wall; }
const Cache& SimWorld::CacheOf(const Process& process) { return *process.cache; }

std::vector<int> SimWorld::Running() const {
  std::vector<int> pods;
  for (const auto& [pod, process] : current_) pods.push_back(pod);
  return pods;
}

std::vector<int> SimWorld::Serving() {
  std::vector<int> pods;
  for (const auto& [pod, process] : current_) {
    if (process->driver->ready() && !paused_.contains(pod)) pods.push_back(pod);
  }
  return pods;
}

}  // namespace podmirror::sim
