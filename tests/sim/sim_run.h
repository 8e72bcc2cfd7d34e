// One run of one seed: a plan drawn from it (how many pods, which faults, which settings), a
// workload, the faults, healing, and what a Witness has to say.
// Thread safety: none shared; a run is on its own.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "sim/witness_conditions.h"

namespace podmirror::sim {

enum class Story : std::uint8_t;  // sim_plan.h

struct RunOptions {
  std::uint64_t seed = 1;
  std::optional<int> nodes;    // else drawn
  std::optional<Story> story;  // else drawn
  bool together = false;       // no faults: all start at once, write, and must converge
  bool trace = false;
};

struct RunResult {
  std::vector<std::string> failures;  // empty: all promises held
  std::int64_t simulated_ms = 0;
  std::uint64_t writes = 0;
  Answers answers;   // to writes on conditions
  std::string plan;  // in words
};

RunResult RunSeed(const RunOptions& options);

}  // namespace podmirror::sim
