#include "sim/sim_plan.h"

#include <algorithm>
#include <initializer_list>

#include "sim/sim_time.h"

namespace podmirror::sim {
namespace {

// Of twenty seeds, so many tell each story; the others that of faults.
constexpr std::array<std::pair<Story, std::uint64_t>, 9> kShares = {{{Story::kClocks, 2},
                                                                     {Story::kLone, 1},
                                                                     {Story::kSlowWays, 1},
                                                                     {Story::kDrain, 1},
                                                                     {Story::kForeign, 1},
                                                                     {Story::kStatic, 1},
                                                                     {Story::kOld, 1},
                                                                     {Story::kCold, 1},
                                                                     {Story::kAway, 1}}};

Story DrawStory(SimTime& chance, const RunOptions& options) {
  std::uint64_t drawn = chance.Below(20);
  if (options.together) return Story::kFaults;
  if (options.story) return *options.story;
  for (const auto& [story, share] : kShares) {
    if (drawn < share) return story;
    drawn -= share;
  }
  return Story::kFaults;
}

void Some(Plan& plan, SimTime& chance, std::initializer_list<Fault> faults) {
  for (const Fault fault : faults) {
    if (chance.OneIn(2)) plan.faults.push_back(fault);
  }
}

void ShortTtl(Plan& plan, SimTime& chance) {
  // Well above all other times, as it is with people's settings.
  plan.short_ttl = true;
  plan.world.tombstone_ttl_ms = chance.Between(40, 80) * 1000;
  plan.world.bootstrap_timeout_ms = 10'000;
}

void DrawFaults(Plan& plan, SimTime& chance) {
  Some(plan, chance,
       {Fault::kCrash, Fault::kNodeLost, Fault::kReplace, Fault::kRoll, Fault::kCut,
        Fault::kCutOneWay, Fault::kHide, Fault::kReset, Fault::kSlow, Fault::kPause, Fault::kJump,
        Fault::kSilence, Fault::kLag, Fault::kUnlist, Fault::kBlind});
  // Only with short times of life somebody can be away for too long.
  if (plan.short_ttl && chance.OneIn(3)) {
    plan.faults.push_back(Fault::kAway);
    plan.faults_ms += 2 * plan.world.tombstone_ttl_ms;
  }
  plan.moving = chance.OneIn(4);
  plan.world.hides_stopped = chance.OneIn(4);
  plan.world.bootstrap_alone = chance.OneIn(16);
}

void DrawClocks(Plan& plan, SimTime& chance) {
  ShortTtl(plan, chance);
  const WallMs widest = 23 * kHour;
  const WallMs range = chance.OneIn(2) ? widest : chance.Between(kHour / 2, widest);
  plan.clock_low = -static_cast<WallMs>(chance.Below(3)) * range / 2;
  plan.clock_high = plan.clock_low + range;
  plan.fault_every_ms = chance.Between(2000, 6000);
  plan.faults = {Fault::kClock};
  Some(plan, chance, {Fault::kClock, Fault::kReset, Fault::kRoll, Fault::kLag});
  plan.skewed = false;
}

void DrawLone(Plan& plan, SimTime& chance) {
  ShortTtl(plan, chance);
  plan.nodes = static_cast<int>(chance.Between(2, 3));
  plan.clock_high = chance.Between(1, 46) * kHour / 2;
  plan.faults_ms = plan.world.tombstone_ttl_ms * chance.Between(5, 9) / 4;
  plan.skewed = false;
}

void DrawStatic(Plan& plan, SimTime& chance) {
  ShortTtl(plan, chance);
  plan.world.static_peers = true;
  Some(plan, chance,
       {Fault::kCrash, Fault::kHide, Fault::kCut, Fault::kCutOneWay, Fault::kReset, Fault::kPause,
        Fault::kReplace, Fault::kRoll, Fault::kAway});
  plan.faults_ms *= 2;
}

void DrawAway(Plan& plan, SimTime& chance) {
  ShortTtl(plan, chance);
  plan.nodes = static_cast<int>(chance.Between(2, 5));
  plan.faults = {Fault::kAway};
  Some(plan, chance, {Fault::kRoll, Fault::kReset});
  plan.fault_every_ms = plan.world.tombstone_ttl_ms / 2;
  plan.faults_ms = plan.world.tombstone_ttl_ms * 8;
  plan.write_every_ms = chance.Between(100, 800);
  plan.moving = true;
}

void DrawSlowWays(Plan& plan, SimTime& chance) {
  plan.nodes = static_cast<int>(chance.Between(2, 3));
  plan.way_delay = chance.Between(10, 300);
  plan.way_bytes_per_ms = static_cast<std::uint64_t>(chance.Between(125, 500));
  plan.write_every_ms = chance.Between(500, 1500);
  plan.faults_ms = 90'000;
  plan.keys = 40;
  plan.value_bytes = 300;
  plan.short_ttl = false;
  plan.world.max_memory = 0;
  plan.world.backlog_bytes = chance.OneIn(2) ? 64 << 20 : 1 << 20;
}

Plan DrawStoryOf(Plan plan, SimTime& chance) {
  switch (plan.story) {
    case Story::kFaults:
      DrawFaults(plan, chance);
      break;
    case Story::kClocks:
      DrawClocks(plan, chance);
      break;
    case Story::kLone:
      DrawLone(plan, chance);
      break;
    case Story::kStatic:
      DrawStatic(plan, chance);
      break;
    case Story::kSlowWays:
      DrawSlowWays(plan, chance);
      break;
    case Story::kAway:
      DrawAway(plan, chance);
      break;
    case Story::kDrain:
      plan.nodes = static_cast<int>(chance.Between(2, 4));
      plan.faults = {Fault::kLastWords};
      plan.faults_ms = chance.Between(90, 150) * 1000;
      plan.fault_every_ms = 10'000;
      break;
    case Story::kOld:
      plan.nodes = static_cast<int>(chance.Between(1, 3));
      plan.others = static_cast<int>(chance.Between(1, 2));
      plan.faults = {Fault::kOldReset};
      Some(plan, chance, {Fault::kOldReset, Fault::kRoll, Fault::kReset, Fault::kCrash});
      break;
    case Story::kForeign:
      plan.others = static_cast<int>(chance.Between(1, 2));
      Some(plan, chance, {Fault::kCrash, Fault::kRoll, Fault::kCut, Fault::kReset, Fault::kLag});
      break;
    case Story::kCold:
      plan.nodes = static_cast<int>(chance.Between(2, 5));
      plan.faults_ms = plan.world.bootstrap_timeout_ms + 30'000;
      Some(plan, chance, {Fault::kReset, Fault::kLag});
      break;
  }
  return plan;
}

}  // namespace

std::string Plan::ToText() const {
  std::string text = std::string(kStoryNames[static_cast<std::size_t>(story)]) + ": " +
                     std::to_string(nodes) + " pods, " + std::to_string(keys) + " keys, ttl " +
                     std::to_string(world.tombstone_ttl_ms / 1000) + " s, repair " +
                     std::to_string(world.repair_interval_ms / 1000) + " s, backlog " +
                     std::to_string(world.backlog_bytes) + ", faults:";
  for (const Fault fault : faults) {
    text += std::string(" ") + kFaultNames[static_cast<std::size_t>(fault)];
  }
  return text;
}

Plan Draw(const RunOptions& options) {
  SimTime chance(options.seed * 2 + 1, false);
  Plan plan;
  plan.story = DrawStory(chance, options);
  plan.world.seed = options.seed;
  plan.world.trace = options.trace;
  plan.nodes = chance.OneIn(20) ? static_cast<int>(chance.Between(7, 12))
                                : static_cast<int>(chance.Between(2, 6));
  plan.world.tick_ms = 25 << chance.Below(3);
  plan.world.repair_interval_ms = chance.Between(2, 10) * 1000;
  plan.world.backlog_bytes = std::uint64_t{2048} << chance.Below(7);
  if (chance.OneIn(8)) plan.world.max_memory = 16'384 << chance.Below(3);
  plan.faults_ms = chance.Between(20, 90) * 1000;
  if (chance.OneIn(2)) {
    ShortTtl(plan, chance);
    plan.faults_ms *= 2;
  }
  plan.write_every_ms = chance.Between(5, 400);
  plan.fault_every_ms = chance.Between(500, 4000);
  plan.keys = std::uint64_t{5} << chance.Below(7);
  plan.value_bytes = chance.OneIn(10) ? 20'000 : 300;
  plan.duplicate = chance.OneIn(3);
  plan.skewed = chance.OneIn(4);
  if (options.together) {
    plan.faults_ms = 20'000;
    plan.world.tick_ms = 100;
    plan.world.tombstone_ttl_ms = kHour;
    plan.world.bootstrap_timeout_ms = 30'000;
    plan.short_ttl = false;
  } else {
    plan = DrawStoryOf(std::move(plan), chance);
  }
  if (options.nodes) plan.nodes = *options.nodes;
  return plan;
}

}  // namespace podmirror::sim
