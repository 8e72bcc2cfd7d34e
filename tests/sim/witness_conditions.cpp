#include "sim/witness_conditions.h"

#include <algorithm>

namespace podmirror::sim {
namespace {

constexpr std::int32_t kType = 0;

}  // namespace

std::size_t ConditionsWitness::Asked(const Process& at, const std::string& key,
                                     const sync::WriteItem& item,
                                     const std::optional<Condition>& condition) {
  Write write;
  write.at = &at;
  write.key = key;
  write.asked_at = world_.now();
  write.condition = condition;
  write.remove = item.remove;
  write.timed = !item.remove && item.ttl_ms != 0;
  write.asked = witness_.ListedBy(at);
  for (const auto& process : world_.processes()) {
    if (process->alive) write.alive.insert(process->serial);
  }
  writes_.push_back(std::move(write));
  return writes_.size() - 1;
}

void ConditionsWitness::Applied(std::size_t number, const Process& at) {
  Write& write = writes_[number];
  const EntryRef held = at.cache->Peek(kType, write.key);
  write.version = held->version();
  write.expires_at = held->expires_at();
  world_.Trace(at.pod, "wrote " + Text(write));
}

void ConditionsWitness::Answered(std::size_t number, const sync::WriteOutcome& outcome) {
  Write& write = writes_[number];
  if (!write.condition) return;
  if (write.answer != Answer::kNone) witness_.Fail(Text(write) + " was answered twice");
  write.latest = world_.latest_wall();
  write.pending = outcome.pending;
  world_.Trace(write.at->pod, "answered " + outcome.version.ToString() +
                                  (outcome.failed   ? ": refused"
                                   : outcome.winner ? ": lost to " + outcome.winner->ToString()
                                   : outcome.met    ? ": done"
                                                    : ": left open"));
  if (outcome.failed) {
    write.answer = Answer::kFailed;
    ++answers_.failed;
    CheckFailed(write, outcome);
    return;
  }
  if (outcome.winner) {
    write.answer = Answer::kConflict;
    write.winner = outcome.winner;
    ++answers_.conflict;
  } else if (!outcome.met) {
    write.answer = Answer::kOpen;
    ++answers_.open;
  } else {
    write.answer = Answer::kDone;
    ++answers_.done;
    if (outcome.peers < write.asked.size()) {
      witness_.Fail(NameOf(*write.at) + " asked " + std::to_string(outcome.peers) + " peers, and " +
                    std::to_string(write.asked.size()) + " are listed");
    }
  }
}

void ConditionsWitness::CheckFailed(const Write& write, const sync::WriteOutcome& outcome) {
  const EntryRef held = write.at->cache->Peek(kType, write.key);
  const WallMs wall = write.at->env->now().wall;
  if (write.condition->Holds(held.get(), wall)) {
    witness_.Fail(Text(write) + " was refused, and its condition holds");
  }
  const bool live = !Condition{}.Holds(held.get(), wall);
  const std::optional<Version> found = live ? std::optional(held->version()) : std::nullopt;
  if (outcome.found != found) witness_.Fail(Text(write) + " was told of another version");
}

std::string ConditionsWitness::Text(const Write& write) const {
  std::string text = NameOf(*write.at) + "'s " + (write.remove ? "delete of " : "write of ") +
                     write.key + "@" + write.version.ToString();
  if (!write.condition) return text;
  return text + " on " +
         (write.condition->version ? write.condition->version->ToString() : "nothing");
}

void ConditionsWitness::CheckHistory() {
  std::map<std::string, OfKey> keys;
  for (const Write& write : writes_) {
    if (write.version != Version{}) keys[write.key].emplace(write.version, &write);
  }
  for (const auto& [key, writes] : keys) CheckKey(writes);
}

void ConditionsWitness::CheckKey(const OfKey& writes) {
  std::vector<const Write*> done;
  for (const auto& [version, write] : writes) {
    if (write->answer == Answer::kDone) done.push_back(write);
    if (write->answer == Answer::kConflict &&
        (*write->winner <= version || !writes.contains(*write->winner))) {
      witness_.Fail(Text(*write) + " lost to " + write->winner->ToString() +
                    ", which is no greater write of this key");
    }
  }
  for (std::size_t i = 0; i < done.size(); ++i) {
    for (std::size_t j = i + 1; j < done.size(); ++j) CheckPair(writes, *done[i], *done[j]);
  }
}

void ConditionsWitness::CheckPair(const OfKey& writes, const Write& lesser, const Write& greater) {
  const std::optional<Version>& base = greater.condition->version;
  if (base && *base >= lesser.version) return;
  if (!base) {
    // What was deleted in between, or has expired by the clock of whoever looked, was seen.
    const auto end = writes.find(greater.version);
    for (auto it = writes.find(lesser.version); it != end; ++it) {
      const Write& between = *it->second;
      const WallMs latest = std::max(greater.latest, WallOf(greater.version.hlc));
      if (between.remove || (between.expires_at != 0 && between.expires_at <= latest)) return;
    }
  }
  if (Excused(writes, lesser, greater)) return;
  witness_.Fail(Text(lesser) + " and " + Text(greater) + " were both answered 200");
}

// Neither counted the other, a process that had ended or not begun being none; or it was given up,
// with all that a pod wrote alone for longer than deletes are remembered.
bool ConditionsWitness::Excused(const OfKey& writes, const Write& lesser, const Write& greater) {
  const auto counted = [&](const Write& by, const Write& other) {
    return by.asked.contains(world_.IdOf(*other.at)) && by.alive.contains(other.at->serial);
  };
  if (!counted(lesser, greater) && !counted(greater, lesser)) return true;
  return std::any_of(writes.find(lesser.version), writes.find(greater.version),
                     [&](const auto& between) {
                       return witness_.MayBeGivenUp(*between.second->at, between.second->asked_at);
                     });
}

void ConditionsWitness::CheckQuiet(const std::vector<std::size_t>& race) {
  const auto greatest = *std::max_element(race.begin(), race.end(), [&](auto a, auto b) {
    return writes_[a].version < writes_[b].version;
  });
  for (const std::size_t number : race) {
    const Answer due = number == greatest ? Answer::kDone : Answer::kConflict;
    if (writes_[number].answer == due) continue;
    std::string pending;
    for (const std::string& name : writes_[number].pending) pending += " " + name;
    witness_.Fail(Text(writes_[number]) + ", one of " + std::to_string(race.size()) +
                  " and all else quiet, was answered " +
                  std::to_string(static_cast<int>(writes_[number].answer)) +
                  ", pending:" + pending);
  }
}

}  // namespace podmirror::sim
