// Contention writes a few keys on conditions, from several pods at a time, among plain writes,
// deletes and short times to live.
// Thread safety: none; one thread.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "sim/sim_world.h"
#include "sim/witness.h"
#include "sim/witness_conditions.h"

namespace podmirror::sim {

class Contention {
 public:
  // All must outlive it. written: is told of what a pod has taken.
  Contention(SimWorld& world, Witness& witness,
             std::function<void(Process&, const sync::WriteItem&)> written)
      : world_(world),
        time_(world.time()),
        witness_(witness),
        conditions_(world, witness),
        written_(std::move(written)) {}

  // From now on no value travels in fragments.
  void SmallOnly() { large_ = false; }
  // Some writes of one key, at about the same time.
  void Contend();
  // Once all is quiet: a lone write, then a race of all pods.
  void CheckQuiet();
  void CheckHistory() { conditions_.CheckHistory(); }
  const Answers& answers() const { return conditions_.answers(); }

 private:
  void Write(int pod, const std::string& key);
  // What to write; nothing where the draw finds nothing to do.
  std::optional<Condition> DrawCondition(const std::string& key);
  // Its number; nothing when it was refused.
  std::optional<std::size_t> Do(int pod, const std::string& key, sync::WriteItem item,
                                const std::optional<Condition>& condition, std::int64_t timeout_ms);

  SimWorld& world_;
  SimTime& time_;
  Witness& witness_;
  ConditionsWitness conditions_;
  std::function<void(Process&, const sync::WriteItem&)> written_;
  bool large_ = true;
  std::uint64_t values_ = 0;
};

}  // namespace podmirror::sim
