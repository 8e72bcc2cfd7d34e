// A Plan is what a seed stands for: how many pods, which settings, which faults. Most seeds draw
// many kinds of faults (Story::kFaults); the others tell one story each, about what the many
// faults seldom bring together.
// Thread safety: plain values.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "sim/sim_run.h"
#include "sim/sim_world.h"

namespace podmirror::sim {

// Every kind of fault. A run uses about half of those of its story, so that each is also seen
// without the others.
enum class Fault : std::uint8_t {
  kCrash,      // killed; the container starts again in place, its record says so later
  kNodeLost,   // gone with its kernel; the same pod comes back elsewhere in time
  kReplace,    // killed and deleted; a new pod takes its place, maybe its address
  kRoll,       // a new pod starts, becomes ready, then an old one is terminated
  kCut,        // both directions
  kCutOneWay,  //
  kHide,       // a pod is cut from all others
  kReset,
  kSlow,
  kPause,
  kJump,       // the wall clock, by up to an hour
  kSilence,    // discovery tells a daemon nothing
  kLag,        // or late
  kUnlist,     // a running pod's record is away for a while
  kAway,       // the same, and it is cut off, for about as long as tombstones are kept
  kBlind,      // one daemon's discovery does not show one pod for a while
  kClock,      // the wall clock, within the plan's range, and back
  kLastWords,  // a pod that is cut off takes a write, is terminated, and finds a way back
  kOldReset,   // the streams to an old service end; it may have lost all that it held
};
inline constexpr std::array kFaultNames = {
    "crash", "node-lost", "replace", "roll",       "cut",      "cut-one-way", "hide",
    "reset", "slow",      "pause",   "jump",       "silence",  "lag",         "unlist",
    "away",  "blind",     "clock",   "last-words", "old-reset"};
static_assert(kFaultNames.size() == static_cast<std::size_t>(Fault::kOldReset) + 1);

enum class Story : std::uint8_t {
  kFaults,
  kClocks,    // clocks jump within a day of each other; what lives for hours is there in the end
  kLone,      // the first pod's clock is ahead for long; it is set right, then the others come
  kStatic,    // a list of addresses, without records
  kSlowWays,  // values that take many seconds on every way, and nothing else wrong
  kDrain,     // pods that were cut off are terminated
  kOld,       // services that speak only hellorpc
  kForeign,   // pods of another cluster are in the set, and Ready
  kCold,      // all start at once, one of them without an answer from discovery
  kAway,      // one pod after the other is away for about as long as tombstones are kept
};
inline constexpr std::array kStoryNames = {"faults", "clocks", "lone",    "static", "slow-ways",
                                           "drain",  "old",    "foreign", "cold",   "away"};
static_assert(kStoryNames.size() == static_cast<std::size_t>(Story::kAway) + 1);

inline constexpr WallMs kHour = 3'600'000;

struct Plan {
  Story story = Story::kFaults;
  SimOptions world;
  int nodes = 3;
  std::vector<Fault> faults;
  SteadyMs faults_ms = 0;
  SteadyMs write_every_ms = 0;  // on average
  SteadyMs fault_every_ms = 0;
  std::uint64_t keys = 0;
  std::uint64_t value_bytes = 0;
  bool duplicate = false;
  bool short_ttl = false;  // tombstone-ttl
  bool skewed = false;
  bool moving = false;  // keys are written for a while, then others are
  // kClocks, kLone: the range of the clocks. Within it no two are a day apart.
  WallMs clock_low = 0;
  WallMs clock_high = 0;
  // kSlowWays: all ways.
  SteadyMs way_delay = 0;
  std::uint64_t way_bytes_per_ms = 0;
  int others = 0;  // kOld: services; kForeign: pods of another cluster

  std::string ToText() const;
};

Plan Draw(const RunOptions& options);

}  // namespace podmirror::sim
