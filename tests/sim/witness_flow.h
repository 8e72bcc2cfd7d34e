// Flow watches ways that are slow, up, and otherwise well: no stream is lost there, and what is
// written comes to everybody in the time that its bytes take, small values not behind large ones.
// Thread safety: none; one thread.
#pragma once

#include <cstdint>
#include <deque>

#include "sim/sim_world.h"
#include "sim/witness.h"

namespace podmirror::sim {

class Flow {
 public:
  // Nothing is expected before Expect. Both must outlive it.
  Flow(SimWorld& world, Witness& witness) : world_(world), witness_(witness) {}

  // From now on, on every way; delay: of each message.
  void Expect(SteadyMs delay, std::uint64_t bytes_per_ms, std::uint64_t backlog_bytes);
  void Written(const Process& at, const sync::WriteItem& item);
  void Check();
  // All that was written comes to all that run, and all of these become ready.
  void CheckAllArrive(SteadyMs until);

 private:
  struct Sent {
    std::int32_t type = 0;
    std::string key;
    Version version;
    SteadyMs due = 0;
  };
  // The first pod that ought to hold it and does not; 0: none.
  int Lacks(const Sent& sent) const;
  bool AllReady() const;

  SimWorld& world_;
  Witness& witness_;
  SteadyMs delay_ = 0;
  std::uint64_t bytes_per_ms_ = 0;
  std::uint64_t backlog_bytes_ = 0;
  std::uint64_t bytes_ = 0;  // of all values so far
  std::deque<Sent> sent_;
};

}  // namespace podmirror::sim
