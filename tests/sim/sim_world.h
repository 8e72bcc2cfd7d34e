// SimWorld is a whole cluster in one process: real Drivers over real Caches, on virtual time and a
// network with a seed. Everything that happens is one event in one queue, so a seed replays a run
// exactly.
//
// The network: streams keep their order. A partition holds what is sent until it heals or the
// stream is given up, as TCP does; a reset ends a stream on both sides. A crashed pod's streams end
// at once (its kernel answers) or are never heard of again (its node is gone).
// Thread safety: none; one thread.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "base/env.h"
#include "base/peer.h"
#include "cache/cache.h"
#include "sync/driver.h"

namespace podmirror::sim {

struct SimOptions {
  std::uint64_t seed = 1;
  int nodes = 3;
  bool trace = false;
  std::uint64_t backlog_bytes = 64 * 1024;
  std::int64_t repair_interval_ms = 10'000;
  std::int64_t tombstone_ttl_ms = 3'600'000;
  bool plain = false;  // no chance in delays and clocks: each is the middle of its range
};

class SimWorld {
 public:
  explicit SimWorld(SimOptions options);
  ~SimWorld();

  // One run of one pod's daemon. A crashed one keeps its cache, for the checkers.
  struct Process;

  // Chance, all of it from the seed.
  std::uint64_t Random() { return random_(); }
  std::uint64_t Below(std::uint64_t n) { return options_.plain ? n / 2 : random_() % n; }
  bool OneIn(std::uint64_t n) { return Below(n) == 0; }

  SteadyMs now() const { return now_; }
  // Runs everything due until the given time.
  void RunUntil(SteadyMs until);
  void At(SteadyMs when, std::function<void()> what);

  // --- pods ---
  void StartPod(int pod);  // a new process; its record follows
  void CrashPod(int pod, bool silent);
  void DropRecord(int pod);  // Requires: !running(pod)
  void PausePod(int pod, bool paused);
  bool running(int pod) const { return current_.contains(pod); }
  // --- network ---
  void SetPartition(int a, int b, bool cut);  // both directions
  void HealAll();
  void ResetStreams(int a, int b);
  bool Cut(int a, int b) const { return cuts_.contains({std::min(a, b), std::max(a, b)}); }

  // --- what to look at ---
  sync::Driver& driver(int pod);
  Cache& cache(int pod);
  WallMs wall(int pod) const;
  std::vector<int> Running() const;
  std::vector<int> Serving();  // running and ready
  const std::vector<std::unique_ptr<Process>>& processes() const { return processes_; }
  static const Cache& CacheOf(const Process& process);

  void Trace(int pod, const std::string& text);
  // Called when a process becomes ready.
  std::function<void(int pod)> on_ready;
  // Called with every event of a daemon, and with what is done to it.
  std::function<void(int pod, const std::string& text)> on_trace;

 private:
  class SimEnv;
  class SimTransport;
  struct Stream;
  struct End;

  struct Scheduled {
    SteadyMs when;
    std::uint64_t order;
    bool operator<(const Scheduled& other) const {
      return std::tie(when, order) < std::tie(other.when, other.order);
    }
  };

  PodRecord RecordOf(int pod) const;
  void PublishRecords();
  void TickProcess(Process* process);
  void Dial(Process* from, sync::ConnId conn, const PodRecord& peer);
  void Wake(Process* from, sync::ConnId conn);
  void PumpEnd(const std::shared_ptr<Stream>& stream, int side);
  void Deliver(const std::shared_ptr<Stream>& stream, int side);
  void EndStream(const std::shared_ptr<Stream>& stream, const std::string& why, int except);
  void Close(Process* from, sync::ConnId conn);

  const SimOptions options_;
  std::mt19937_64 random_;
  SteadyMs now_ = 0;
  std::uint64_t order_ = 0;
  std::map<Scheduled, std::function<void()>> queue_;
  std::vector<std::unique_ptr<Process>> processes_;
  std::map<int, Process*> current_;  // running, by pod
  std::map<int, WallMs> started_;    // pods that have a record, with their start
  std::set<std::pair<int, int>> cuts_;
  std::set<int> paused_;
};

}  // namespace podmirror::sim
