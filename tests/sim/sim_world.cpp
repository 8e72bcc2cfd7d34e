#include "sim/sim_world.h"

#include <algorithm>
#include <iostream>
#include <utility>

namespace podmirror::sim {
namespace {

std::string UidOf(int pod) { return "uid-" + std::to_string(pod); }
std::string NameOf(int pod) { return "pod-" + std::to_string(pod); }

}  // namespace

class SimWorld::SimEnv final : public Env {
 public:
  SimEnv(SimWorld& world, int pod)
      : world_(world), pod_(pod), drawn_(world.processes_.size() << 16) {}
  Now now() const override { return {world_.now(), kEpoch + world_.now() + world_.skew(pod_)}; }
  // Without chance: unique numbers, for incarnations, that are 0 in every range that jitter is
  // drawn from, so that a draw more or less changes nothing that is seen.
  std::uint64_t Random() override {
    return world_.options_.plain ? kNoJitter * ++drawn_ : world_.time_.Random();
  }

 private:
  // A multiple of all the waits in sync/link.h and of a tenth of repair-interval and a bit.
  static constexpr std::uint64_t kNoJitter = 120'000 * 1001;

  SimWorld& world_;
  const int pod_;
  std::uint64_t drawn_;
};

class SimWorld::SimTransport final : public sync::Transport {
 public:
  SimTransport(SimNetwork& network, Process& process) : network_(network), process_(process) {}
  void Dial(sync::ConnId conn, const PodRecord& peer, bool legacy) override {
    network_.Dial(process_, conn, peer, legacy);
  }
  void Wake(sync::ConnId conn) override { network_.Wake(process_, conn); }
  void Close(sync::ConnId conn) override { network_.Close(process_, conn); }

 private:
  SimNetwork& network_;
  Process& process_;
};

void Process::Tell(std::function<void()> what) {
  if (!alive) return;
  if (paused) {
    held.push_back(std::move(what));
  } else {
    what();
  }
}

SimWorld::SimWorld(SimOptions options)
    : options_(options),
      time_(options.seed, options.plain),
      network_(time_, {.listener = [this](int address) -> Process* {
                         for (const auto& [pod, process] : current_) {
                           if (process->address == address) return process;
                         }
                         return nullptr;
                       },
                       .received =
                           [this](Process& at, const Process& from, const sync::Message& message) {
                             if (at.foreign || from.foreign) return;
                             if (watch.received) watch.received(at, from, message);
                           },
                       .sent =
                           [this](Process& from, const Process& to, const sync::Message& message) {
                             if (to.foreign || from.foreign) return;
                             if (watch.sent) watch.sent(from, to, message);
                           }}) {}
SimWorld::~SimWorld() = default;

void SimWorld::Trace(int pod, const std::string& text) {
  if (options_.trace) std::cout << now() << " " << NameOf(pod) << " " << text << "\n";
  if (watch.trace) watch.trace(pod, text);
}

// --- clocks ---

void SimWorld::SetSkew(int pod, WallMs skew) {
  NoteClocks();
  Clock& clock = clocks_[pod];
  clock = {skew, recent_skew(pod), now()};
  Trace(pod, "clock is " + std::to_string(skew) + " ms ahead");
  least_skew_ = std::min(least_skew_, skew);
  most_skew_ = std::max(most_skew_, skew);
  NoteClocks();
}

WallMs SimWorld::skew(int pod) const {
  const auto found = clocks_.find(pod);
  return found == clocks_.end() ? 0 : found->second.skew;
}

WallMs SimWorld::recent_skew(int pod) const {
  const auto found = clocks_.find(pod);
  if (found == clocks_.end()) return 0;
  const Clock& clock = found->second;
  return now() - clock.changed_at < kAgreeMs ? std::max(clock.skew, clock.before) : clock.skew;
}

WallMs SimWorld::SkewOfRunning(bool greatest) const {
  std::optional<WallMs> found;
  for (const int pod : Running()) {
    const WallMs skew = recent_skew(pod);
    if (!found || (greatest ? skew > *found : skew < *found)) found = skew;
  }
  return found.value_or(-now());
}

void SimWorld::NoteClocks() {
  latest_ = std::max(latest_, now() + SkewOfRunning(true));
  agreed_ = std::max(agreed_, now() + SkewOfRunning(false));
}

// --- pods ---

void SimWorld::AddPod(int pod, int address) {
  pods_[pod] = {address, kEpoch + now()};
  const WallMs skew = time_.Between(-1000, 1000);
  clocks_.try_emplace(pod, Clock{skew, skew, now()});
}

void SimWorld::AddForeignPod(int pod, int address) {
  AddPod(pod, address);
  pods_[pod].kind = Pod::kForeign;
}

void SimWorld::AddOldPod(int pod, int address) {
  AddPod(pod, address);
  pods_[pod].kind = Pod::kOld;
  pods_[pod].ready = true;
  old_pods_[pod] = address;
  network_.old().Add(address);
}

void SimWorld::ResetOld(bool emptied) {
  Trace(0, emptied ? "old services start anew" : "old services are reset");
  network_.old().Reset(emptied);
}

void SimWorld::StartPod(int pod) {
  if (!pods_.contains(pod)) {
    AddPod(pod, pod);
  } else {
    // The record still says the old start for a while.
    const SteadyMs seen = options_.plain ? options_.restart_seen_ms : time_.Between(0, 3000);
    time_.In(seen, [this, pod, start = kEpoch + now()] {
      if (!pods_.contains(pod)) return;
      pods_[pod].started_ms = start;
      pods_[pod].stopped = false;
      Publish();
    });
  }
  NoteClocks();
  auto owned = std::make_unique<Process>();
  Process* const process = owned.get();
  const bool foreign = pods_.at(pod).kind == Pod::kForeign;
  process->serial = foreign ? kForeignSerial + foreigners_.size() : processes_.size();
  (foreign ? foreigners_ : processes_).push_back(std::move(owned));
  process->pod = pod;
  process->address = address(pod);
  process->started_at = now();
  process->foreign = foreign;
  process->env = std::make_unique<SimEnv>(*this, pod);
  process->changes = std::make_unique<ChangeLog>(options_.change_log_bytes);
  process->cache = std::make_unique<Cache>(process->changes.get());
  process->transport = std::make_unique<SimTransport>(network_, *process);
  network_.Dark(process->address, false);
  sync::NodeOptions options;
  options.self = {NameOf(pod), "sim", UidOf(pod), "sim"};
  options.cluster = foreign ? "another" : options_.cluster;
  options.bootstrap_alone = options_.bootstrap_alone;
  options.process_started_ms = process->env->now().wall;
  options.backlog_bytes = options_.backlog_bytes;
  options.repair_interval_ms = options_.repair_interval_ms;
  options.tombstone_ttl_ms = options_.tombstone_ttl_ms;
  options.bootstrap_timeout_ms = options_.bootstrap_timeout_ms;
  options.max_memory = options_.max_memory;
  process->driver = std::make_unique<sync::Driver>(
      options, *process->cache, *process->env, *process->transport,
      [this, process](const sync::Event& event) {
        std::string text(ToString(event.kind));
        text += " " + event.peer + " " + event.detail;
        for (const auto& [name, number] : event.numbers) {
          text += " " + std::string(name) + "=" + std::to_string(number);
        }
        Trace(process->pod, text);
        if (process->foreign) return;
        if (watch.event) watch.event(*process, event);
        if (watch.lost && event.kind == sync::EventKind::kPeerLost) watch.lost(*process, event);
      });
  process->driver->set_on_unknown_peer([this, process] {
    if (watch.unknown_peer) watch.unknown_peer(*process);
  });
  current_[pod] = process;
  feeds_[pod].last_at = 0;
  Trace(pod, "started");
  NoteClocks();
  if (watch.started && !foreign) watch.started(*process);
  Publish();
  TickProcess(process);
}

void SimWorld::TickProcess(Process* process) {
  if (!process->alive) return;
  if (!process->paused) {
    process->driver->Tick();
    if (process->driver->ready() != process->was_ready) {
      process->was_ready = process->driver->ready();
      KubeletReady(process->pod, time_.Between(0, options_.plain ? 0 : 2000));
    }
    if (process->draining && process->driver->drained()) {
      Trace(process->pod, "drained");
      EndProcess(*process, false, true);
      return;
    }
  }
  // Once ready a daemon is ticked less often, as the real one is.
  const bool seldom = !options_.plain && process->was_ready;
  time_.In(seldom ? std::max(options_.tick_ms, sync::Driver::kReadyTickMs) : options_.tick_ms,
           [this, process] { TickProcess(process); });
}

void SimWorld::KubeletReady(int pod, SteadyMs delay) {
  time_.In(delay, [this, pod] {
    if (!pods_.contains(pod)) return;
    const bool ready = running(pod) && !process(pod).paused && process(pod).driver->ready();
    const bool stopped = !running(pod);
    if (std::exchange(pods_[pod].ready, ready) == ready && pods_[pod].stopped == stopped) return;
    pods_[pod].stopped = stopped;
    Publish();
  });
}

void SimWorld::EndProcess(Process& process, bool silent, bool clean) {
  const int pod = process.pod;
  NoteClocks();
  if (watch.ended && !process.foreign) watch.ended(process, clean);
  process.alive = false;
  if (silent) process.gone_at = now();
  current_.erase(pod);
  network_.Died(process, silent);
  if (silent) network_.Dark(process.address, true);
  // A lost node's pods turn unready much later than those of a kubelet that is there.
  KubeletReady(pod, silent ? time_.Between(5000, 40'000) : time_.Between(0, 1000));
}

void SimWorld::CrashPod(int pod, bool silent) {
  Trace(pod, silent ? "gone" : "crashed");
  EndProcess(process(pod), silent, false);
}

void SimWorld::DrainPod(int pod) {
  Process& terminated = process(pod);
  Trace(pod, "terminated");
  terminated.draining = true;
  terminated.Tell([&terminated] { terminated.driver->BeginDrain(); });
  time_.In(kGraceMs, [this, &terminated] {
    if (!terminated.alive) return;
    Trace(terminated.pod, "killed after its grace period");
    EndProcess(terminated, false, false);
  });
}

void SimWorld::TerminatePod(int pod, SteadyMs wait) {
  Trace(pod, "deleted");
  pods_.at(pod).terminating = true;
  Publish();
  time_.In(wait, [this, pod, &deleted = process(pod)] {
    if (deleted.alive) DrainPod(pod);
  });
}

void SimWorld::DropRecord(int pod) {
  pods_.at(pod).listed = false;
  Publish();
}

void SimWorld::DeletePod(int pod) {
  pods_.erase(pod);
  Publish();
}

void SimWorld::RestoreRecord(int pod) {
  pods_.at(pod).listed = true;
  Publish();
}

void SimWorld::PausePod(int pod, bool paused) {
  Process& process = this->process(pod);
  if (process.paused == paused) return;
  Trace(pod, paused ? "paused" : "continued");
  process.paused = paused;
  KubeletReady(pod, paused ? time_.Between(3000, 10'000) : time_.Between(0, 2000));
  if (paused) return;
  network_.Continued(process);
  for (const auto& what : std::exchange(process.held, {})) {
    if (process.alive) what();
  }
}

// --- discovery ---

PodRecord SimWorld::RecordOf(int pod) const {
  const Pod& known = pods_.at(pod);
  PodRecord record;
  record.ip = "sim";
  record.port = static_cast<std::uint16_t>(known.address);
  if (options_.static_peers) {
    record.name = record.id();
    return record;
  }
  record.uid = UidOf(pod);
  record.name = NameOf(pod);
  record.phase = "Running";
  record.started_at_ms = known.started_ms;
  record.ready = known.ready;
  record.terminating = known.terminating;
  return record;
}

std::string SimWorld::IdOf(const Process& process) const {
  if (!options_.static_peers) return UidOf(process.pod);
  return "sim:" + std::to_string(process.address);
}

void SimWorld::Publish() {
  for (const auto& [pod, process] : current_) PublishTo(*process);
}

void SimWorld::PublishTo(Process& process) {
  Feed& feed = feeds_[process.pod];
  if (feed.silent) {
    feed.missed = true;
    return;
  }
  PeerSet set;
  set.self_listed = options_.static_peers || listed(process.pod);
  set.where = "sim";
  for (const auto& [pod, known] : pods_) {
    if (pod == process.pod) {
      if (!options_.static_peers) set.self_started_at_ms = known.started_ms;
    } else if (known.listed && !process.foreign && !feed.hidden.contains(pod)) {
      const PodRecord record = RecordOf(pod);
      if (!record.terminating) {
        if (!known.stopped || !options_.hides_stopped) set.peers.push_back(record);
      } else if (!known.stopped) {
        set.terminating.push_back(record);
      }
    }
  }
  std::sort(set.peers.begin(), set.peers.end(), OlderThan);
  std::sort(set.terminating.begin(), set.terminating.end(), OlderThan);
  feed.last_at = std::max(feed.last_at, now() + time_.Between(1, feed.lag));
  time_.At(feed.last_at, [this, &process, set = std::move(set)] {
    process.Tell([this, &process, set] {
      if (watch.told && !process.foreign) watch.told(process, set);
      process.driver->SetPeers(set);
    });
  });
}

void SimWorld::Silence(int pod, bool silent) {
  Feed& feed = feeds_[pod];
  feed.silent = silent;
  if (!silent && std::exchange(feed.missed, false) && running(pod)) PublishTo(process(pod));
}

void SimWorld::Blind(int observer, int pod, bool blind) {
  Trace(observer, (blind ? "is not shown " : "is shown again ") + NameOf(pod));
  Feed& feed = feeds_[observer];
  if (blind) {
    feed.hidden.insert(pod);
  } else {
    feed.hidden.erase(pod);
  }
  if (running(observer)) PublishTo(process(observer));
}

void SimWorld::HealDiscovery() {
  for (auto& [pod, feed] : feeds_) {
    feed.lag = 500;
    feed.hidden.clear();
    Silence(pod, false);
  }
  Publish();
}

// --- network ---

void SimWorld::SetPartition(int a, int b, bool cut) {
  Trace(a, (cut ? "cut from " : "joined with ") + NameOf(b));
  network_.Cut(address(a), address(b), cut);
  network_.Cut(address(b), address(a), cut);
}

void SimWorld::ResetStreams(int a, int b) {
  if (running(a) && running(b)) network_.Reset(process(a), process(b));
}

// --- what to look at ---

std::vector<int> SimWorld::Pods() const {
  std::vector<int> pods;
  for (const auto& [pod, known] : pods_) {
    if (known.kind == Pod::kDaemon) pods.push_back(pod);
  }
  return pods;
}

std::vector<const Process*> SimWorld::Foreigners() const {
  std::vector<const Process*> foreigners;
  for (const auto& process : foreigners_) foreigners.push_back(process.get());
  return foreigners;
}

std::vector<int> SimWorld::Running() const {
  std::vector<int> pods;
  for (const auto& [pod, process] : current_) {
    if (!process->foreign) pods.push_back(pod);
  }
  return pods;
}

std::vector<int> SimWorld::Serving() const {
  std::vector<int> pods;
  for (const auto& [pod, process] : current_) {
    if (process->driver->ready() && !process->paused && !process->foreign) pods.push_back(pod);
  }
  return pods;
}

}  // namespace podmirror::sim
