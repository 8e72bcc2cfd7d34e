// One run of one seed: a workload, faults, healing, and the checkers.
// Thread safety: none shared; a run is on its own.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "sim/sim_world.h"

namespace podmirror::sim {

struct RunResult {
  std::vector<std::string> failures;  // empty: all promises held
  std::int64_t simulated_ms = 0;
};

RunResult RunSeed(const SimOptions& options);

}  // namespace podmirror::sim
