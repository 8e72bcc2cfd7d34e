// SimNetwork carries the streams between processes. A stream keeps its order and loses nothing
// while it lives, as TCP does: a cut direction holds what is sent until it heals or the stream is
// given up; a reset loses what is on its way. Of what may arrive twice without harm, some does.
// A sender is held back while its receiver does not read. A receiver may be held up within a
// message (Driver::Step), as a thread is.
// Thread safety: none; one thread.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>

#include "base/peer.h"
#include "sim/sim_old.h"
#include "sim/sim_time.h"
#include "sync/driver.h"

namespace podmirror::sim {

struct Process;

class SimNetwork {
 public:
  // What the network asks of whoever owns the processes.
  struct Hooks {
    // The process that listens at an address; null when nobody does.
    std::function<Process*(int address)> listener;
    // After a message, or a part of its steps, was received; before one goes into the network.
    std::function<void(Process& at, const Process& from, const sync::Message&)> received;
    std::function<void(Process& from, const Process& to, const sync::Message&)> sent;
  };
  SimNetwork(SimTime& time, Hooks hooks)
      : time_(time),
        hooks_(std::move(hooks)),
        old_(time, [this](int from, int to) { return Up(from, to); }) {}
  // Those whom another transport leads to.
  OldServices& old() { return old_; }
  const OldServices& old() const { return old_; }

  // --- faults ---
  // One direction between two addresses.
  void Cut(int from, int to, bool cut);
  bool Up(int from, int to) const { return !cuts_.contains({from, to}); }
  bool Reachable(int a, int b) const { return Up(a, b) && Up(b, a) && !dark_.contains(b); }
  // For how long a stream that `dialler` opened to `to` has lived; -1: there is none.
  SteadyMs ConnectedFor(const Process& dialler, const Process& to) const;
  // How much time lies between the first and the last of the resets between these two that have
  // followed each other until now; 0 when that is over.
  SteadyMs ResetFor(int a, int b) const;
  // Whether these two were slow within the last `ms`.
  bool SlowWithin(int a, int b, SteadyMs ms) const;
  void HealAll();
  // Every stream between two processes ends; what is on its way is lost.
  void Reset(Process& a, Process& b);
  // Both directions: longer on the way, and so few bytes per millisecond. 0, 0: as usual.
  void Slow(int a, int b, SteadyMs delay, std::uint64_t bytes_per_ms);
  // Nothing answers at this address, not even a kernel.
  void Dark(int address, bool dark);
  void Duplicate(bool on) { duplicate_ = on; }

  // --- processes ---
  // silent: its kernel is gone as well, so nobody is told.
  void Died(Process& process, bool silent);
  // It was stopped and goes on.
  void Continued(Process& process);

  // --- a process's transport ---
  void Dial(Process& from, sync::ConnId conn, const PodRecord& peer, bool legacy);
  void Wake(Process& from, sync::ConnId conn);
  void Close(Process& from, sync::ConnId conn);

 private:
  struct End {
    Process* process = nullptr;
    sync::ConnId conn = 0;
    bool writing = false;                 // a message is on its way into the network
    std::deque<sync::Message> in_flight;  // towards this end, at most kInFlight
    bool delivering = false;
  };
  struct Stream {
    bool ended = false;
    SteadyMs opened_at = 0;
    End ends[2];
  };
  using StreamRef = std::shared_ptr<Stream>;
  static constexpr std::size_t kInFlight = 4;

  SteadyMs Delay(const End& from, const End& to, const sync::Message& message);
  void Pump(const StreamRef& stream, int side);
  void Deliver(const StreamRef& stream, int side);
  // The next step of a message that this end has taken from its stream; the others follow.
  void Step(const StreamRef& stream, int side, const std::shared_ptr<sync::Arrival>& arrival);
  // Ends the stream; both sides hear of it but `except`, and those whom no word reaches.
  void End_(const StreamRef& stream, const std::string& why, int except);

  struct Rate {
    SteadyMs delay = 0;
    std::uint64_t bytes_per_ms = 0;
  };
  struct Resets {
    SteadyMs first = 0;
    SteadyMs last = 0;
  };

  SimTime& time_;
  const Hooks hooks_;
  OldServices old_;
  bool duplicate_ = false;
  std::set<std::pair<int, int>> cuts_;
  std::set<int> dark_;
  std::map<std::pair<int, int>, Rate> slow_;
  std::map<std::pair<int, int>, SteadyMs> was_slow_;   // last
  std::map<std::pair<int, int>, Resets> resets_;       // the smaller address first
  using Key = std::pair<std::uint64_t, sync::ConnId>;  // the process's serial number
  std::map<Key, std::pair<StreamRef, int>> streams_;   // and the side
};

}  // namespace podmirror::sim
