// SimWorld is a whole cluster in one process: real Drivers over real Caches, on virtual time, a
// SimNetwork, and what Kubernetes would write about the pods. A pod has a number; its address is a
// number too. A seed replays a run exactly.
//
// Kubernetes here: a pod's record is there before its daemon runs. What a kubelet writes (a new
// start, Ready, gone) comes some time after it has happened, and each daemon's discovery tells it
// some time after that: late, or not at all while it is silent. Answers are whole and in order.
// Thread safety: none; one thread.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/env.h"
#include "base/peer.h"
#include "cache/cache.h"
#include "cache/change_log.h"
#include "sim/sim_network.h"
#include "sim/sim_time.h"
#include "sync/driver.h"

namespace podmirror::sim {

struct SimOptions {
  std::uint64_t seed = 1;
  bool trace = false;
  bool plain = false;  // no chance: delays and clocks are the middle of their range, jitter is 0
  SteadyMs tick_ms = sync::Driver::kTickMs;
  std::uint64_t backlog_bytes = 64 * 1024;
  std::uint64_t change_log_bytes = 16 * 1024;
  std::uint64_t max_memory = 0;
  std::int64_t repair_interval_ms = 10'000;
  std::int64_t tombstone_ttl_ms = 3'600'000;
  std::int64_t bootstrap_timeout_ms = 30'000;
  bool bootstrap_alone = false;
  std::string cluster = "sim";
  bool static_peers = false;   // discovery has addresses and no records
  bool hides_stopped = false;  // a record whose container does not run is no peer
  // For how long the record of a container that was started again says the old start; with chance:
  // up to 3 s.
  SteadyMs restart_seen_ms = 0;
};

// One run of one pod's daemon. A dead one keeps its cache, for the checkers.
struct Process {
  std::uint64_t serial = 0;  // of all processes
  int pod = 0;
  int address = 0;
  bool alive = true;
  bool paused = false;
  bool was_ready = false;
  bool draining = false;
  bool foreign = false;  // of another cluster
  SteadyMs started_at = 0;
  std::optional<SteadyMs> gone_at;  // with its node: nobody is told
  std::unique_ptr<Env> env;
  std::unique_ptr<ChangeLog> changes;
  std::unique_ptr<Cache> cache;
  std::unique_ptr<sync::Transport> transport;
  std::unique_ptr<sync::Driver> driver;
  std::vector<std::function<void()>> held;  // what reaches it once it goes on

  // Now, or when it goes on; never once it is dead.
  void Tell(std::function<void()> what);
};

class SimWorld {
 public:
  explicit SimWorld(SimOptions options);
  ~SimWorld();

  SimTime& time() { return time_; }
  SimNetwork& network() { return network_; }
  SteadyMs now() const { return time_.now(); }
  // What daemons started from now on are set to; the rest of the options stays as it was.
  SimOptions& options() { return options_; }
  void RunUntil(SteadyMs until) { time_.RunUntil(until); }

  // --- pods ---
  // The record of a pod whose daemon does not run yet. Requires: the number is new.
  void AddPod(int pod, int address);
  // A pod of another cluster, to be started like any other: it is alone there, and Ready soon. It
  // is no pod for all that counts or lists pods here, and nobody watches it.
  void AddForeignPod(int pod, int address);
  // A pod that speaks only hellorpc and is Ready; no pod for what counts or lists pods here.
  void AddOldPod(int pod, int address);
  // The streams to these end; emptied: they have lost what they held.
  void ResetOld(bool emptied);
  // Starts a process; adds the pod first if it is new, with its number as address.
  void StartPod(int pod);
  // silent: its node is gone, nobody answers there.
  void CrashPod(int pod, bool silent);
  void PausePod(int pod, bool paused);
  void DrainPod(int pod);  // SIGTERM; ends by itself, at the latest after kGraceMs
  // Deleted: its record says so at once, SIGTERM comes after `wait`.
  void TerminatePod(int pod, SteadyMs wait);
  void DropRecord(int pod);  // may run on
  void RestoreRecord(int pod);
  void DeletePod(int pod);  // for good. Requires: !running(pod)
  bool running(int pod) const { return current_.contains(pod); }
  // The wall clock of its node, from now on: that far from the true time.
  void SetSkew(int pod, WallMs skew);
  // How far it was ahead at most within the last kAgreeMs.
  WallMs recent_skew(int pod) const;
  // The latest time that any daemon's clock has shown, and that all of them have shown within
  // kAgreeMs.
  WallMs latest_wall() const { return kEpoch + std::max(latest_, now() + SkewOfRunning(true)); }
  WallMs agreed_wall() const { return kEpoch + std::max(agreed_, now() + SkewOfRunning(false)); }
  // Between any two clocks there ever were.
  WallMs widest_skew() const { return most_skew_ - least_skew_; }
  WallMs skew(int pod) const;

  // --- discovery ---
  // From now on, for this pod's daemon: told nothing, or told later by up to that much.
  void Silence(int pod, bool silent);
  void Lag(int pod, SteadyMs lag) { feeds_[pod].lag = lag; }
  // It is not shown one other pod.
  void Blind(int observer, int pod, bool blind);
  // All feeds as usual, and up to date soon.
  void HealDiscovery();

  // --- network, by pods ---
  void SetPartition(int a, int b, bool cut);  // both directions
  void ResetStreams(int a, int b);

  // --- what to look at ---
  Process& process(int pod) const { return *current_.at(pod); }
  sync::Driver& driver(int pod) { return *process(pod).driver; }
  Cache& cache(int pod) const { return *process(pod).cache; }
  int address(int pod) const { return pods_.at(pod).address; }
  bool listed(int pod) const { return pods_.contains(pod) && pods_.at(pod).listed; }
  bool terminating(int pod) const { return pods_.contains(pod) && pods_.at(pod).terminating; }
  bool record_ready(int pod) const { return pods_.at(pod).ready; }
  bool silenced(int pod) const { return feeds_.contains(pod) && feeds_.at(pod).silent; }
  // What its record goes by in sets of peers, as PodRecord::id.
  std::string IdOf(const Process& process) const;
  std::vector<int> Pods() const;  // that have not been replaced
  std::vector<int> Running() const;
  std::vector<int> Serving() const;  // running, ready and not paused
  const std::vector<std::unique_ptr<Process>>& processes() const { return processes_; }
  std::vector<const Process*> Foreigners() const;
  const std::map<int, int>& old_pods() const { return old_pods_; }  // their addresses

  void Trace(int pod, const std::string& text);

  // What the checkers watch; each may be empty.
  struct Watch {
    std::function<void(Process&)> started;
    std::function<void(Process&, bool clean)> ended;
    std::function<void(Process&, const PeerSet&)> told;
    std::function<void(Process&, const sync::Event&)> event;
    std::function<void(Process&, const sync::Event&)> lost;  // a peer; an event, too
    std::function<void(Process& at, const Process& from, const sync::Message&)> received;
    std::function<void(Process& from, const Process& to, const sync::Message&)> sent;
    std::function<void(Process&)> unknown_peer;  // somebody said hello whom no record names
    std::function<void(int pod, const std::string& text)> trace;
  };
  Watch watch;

  static constexpr SteadyMs kGraceMs = 30'000;
  static constexpr SteadyMs kAgreeMs = 5000;  // until all have heard of a clock
  static constexpr WallMs kEpoch = 1'700'000'000'000;

 private:
  class SimEnv;
  class SimTransport;

  struct Pod {
    int address = 0;
    WallMs started_ms = 0;
    bool ready = false;
    bool listed = true;
    enum Kind { kDaemon, kForeign, kOld } kind = kDaemon;
    bool stopped = false;      // so says its record
    bool terminating = false;  // and this
  };
  struct Clock {
    WallMs skew = 0;
    WallMs before = 0;
    SteadyMs changed_at = 0;
  };
  struct Feed {
    bool silent = false;
    SteadyMs lag = 500;
    SteadyMs last_at = 0;  // when its last answer arrives
    bool missed = false;   // something while it was silent
    std::set<int> hidden;  // pods that it is not shown
  };

  PodRecord RecordOf(int pod) const;
  // The greatest or the least of those of running daemons.
  WallMs SkewOfRunning(bool greatest) const;
  void NoteClocks();
  void Publish();
  void PublishTo(Process& process);
  // A kubelet writes that the pod became (un)ready, unless that has changed by then.
  void KubeletReady(int pod, SteadyMs delay);
  void TickProcess(Process* process);
  void EndProcess(Process& process, bool silent, bool clean);

  SimOptions options_;
  SimTime time_;
  SimNetwork network_;
  static constexpr std::uint64_t kForeignSerial = 1'000'000;
  std::vector<std::unique_ptr<Process>> processes_;  // by serial
  std::vector<std::unique_ptr<Process>> foreigners_;
  std::map<int, Process*> current_;  // running, by pod
  std::map<int, Pod> pods_;
  std::map<int, int> old_pods_;
  std::map<int, Feed> feeds_;
  std::map<int, Clock> clocks_;
  WallMs latest_ = 0;  // as of the epoch
  WallMs agreed_ = 0;
  WallMs least_skew_ = 0;
  WallMs most_skew_ = 0;
};

}  // namespace podmirror::sim
