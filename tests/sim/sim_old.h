// OldServices are pods that speak only hellorpc.Sync, and the streams to them, as
// rpc/legacy_stream.h presents these to the core: calls one after the other, heartbeats answered
// meanwhile, a call that fails ends the stream. Such a service keeps the last value that it was
// told, and nothing else.
// Thread safety: none; one thread.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>

#include "cache/entry.h"
#include "sim/sim_time.h"
#include "sync/driver.h"

namespace podmirror::sim {

struct Process;

class OldServices {
 public:
  using Values = std::map<std::pair<std::int32_t, std::string>, std::string>;

  // up: whether what is sent from one address arrives at the other.
  OldServices(SimTime& time, std::function<bool(int from, int to)> up)
      : time_(time), up_(std::move(up)) {}

  void Add(int address) { values_[address]; }
  bool Has(int address) const { return values_.contains(address); }
  // All streams end; emptied: the service comes back with nothing.
  void Reset(bool emptied);
  const std::map<int, Values>& values() const { return values_; }
  // Whether it was ever told a value of this key, held or not.
  bool Told(int address, const Values::key_type& key) const {
    return told_.contains({address, key});
  }

  // As of sync::Transport; the last two say whether the stream was one of these.
  void Dial(Process& from, sync::ConnId conn, int address, bool legacy);
  bool Wake(Process& from, sync::ConnId conn);
  bool Close(Process& from, sync::ConnId conn);
  void Died(const Process& process);

 private:
  struct Stream {
    Process* process = nullptr;
    sync::ConnId conn = 0;
    int address = 0;
    bool calling = false;
    bool ended = false;
    std::deque<sync::Message> tasks;  // the first one is under way
  };
  using StreamRef = std::shared_ptr<Stream>;
  static constexpr std::size_t kMaxTasks = 8;  // as in LegacyStream
  static constexpr SteadyMs kCallMs = 5000;

  void Pump(const StreamRef& stream);
  void Call(const StreamRef& stream);
  // The call arrives, if there is a way before `deadline`.
  void Arrive(const StreamRef& stream, SteadyMs deadline);
  sync::Message Do(int address, const sync::Message& call);
  void Set(int address, const std::vector<EntryRef>& entries);
  void End(const StreamRef& stream, Code code, const std::string& why);

  SimTime& time_;
  const std::function<bool(int, int)> up_;
  std::map<int, Values> values_;  // by address
  std::set<std::pair<int, Values::key_type>> told_;
  std::map<std::pair<std::uint64_t, sync::ConnId>, StreamRef> streams_;  // by serial
};

}  // namespace podmirror::sim
