#include "sim/sim_conditions.h"

#include <utility>

namespace podmirror::sim {
namespace {

constexpr std::int32_t kType = 0;
constexpr std::uint64_t kKeys = 3;
constexpr std::uint64_t kLargeBytes = 140'000;  // travels in fragments
constexpr std::int64_t kPatientMs = 7000;
constexpr SteadyMs kQuietMs = 10'000;  // more than the longest wait

}  // namespace

void Contention::Contend() {
  const std::string key = "c" + std::to_string(time_.Below(kKeys));
  const std::uint64_t writers = 1 + time_.Below(3);
  for (std::uint64_t i = 0; i < writers; ++i) {
    time_.In(time_.OneIn(2) ? 0 : time_.Between(0, 60), [this, key] {
      const std::vector<int> serving = world_.Serving();
      if (!serving.empty()) Write(serving[time_.Below(serving.size())], key);
    });
  }
}

std::optional<Condition> Contention::DrawCondition(const std::string& key) {
  if (time_.OneIn(6)) return std::nullopt;
  // Read at one pod, written at another.
  const std::vector<int> serving = world_.Serving();
  const Process& reader = world_.process(serving[time_.Below(serving.size())]);
  const EntryRef found = reader.cache->Find(kType, key, reader.env->now().wall);
  if (!found || time_.OneIn(20)) return Condition{};
  return Condition{found->version()};
}

void Contention::Write(int pod, const std::string& key) {
  sync::WriteItem item;
  const std::optional<Condition> condition = DrawCondition(key);
  item.remove = time_.OneIn(6) && (!condition || condition->version);
  if (!item.remove && time_.OneIn(10)) item.ttl_ms = time_.Between(1, 4000);
  Do(pod, key, item, condition, time_.OneIn(4) ? 6000 : 1000);
}

std::optional<std::size_t> Contention::Do(int pod, const std::string& key, sync::WriteItem item,
                                          const std::optional<Condition>& condition,
                                          std::int64_t timeout_ms) {
  Process& process = world_.process(pod);
  // A pass that brings a large value first leaves it open; nothing else does when all is quiet.
  const bool large =
      time_.OneIn(60) && large_ && timeout_ms != kPatientMs && world_.options().max_memory == 0;
  const std::string value =
      "c" + std::to_string(++values_) + std::string(large ? kLargeBytes : 0, 'l');
  item.type = kType;
  item.key = key;
  item.value = value;
  const sync::WriteOptions options{sync::AckLevel::kAll, timeout_ms, condition};
  const std::size_t number = conditions_.Asked(process, key, item, condition);
  bool failed = false;
  const auto done = [this, &process, &failed, key, number](const sync::WriteOutcome& outcome) {
    if (outcome.failed) failed = true;
    conditions_.Answered(number, outcome);
    sync::WriteItem answered;
    answered.type = kType;
    answered.key = key;
    if (!outcome.failed) witness_.AnsweredIf(process, answered, outcome);
  };
  const sync::WriteRefusal refusal = process.driver->Write({&item, 1}, options, done);
  if (refusal != sync::WriteRefusal::kNone) {
    witness_.Refused(process, refusal);
    return std::nullopt;
  }
  if (failed) return number;
  conditions_.Applied(number, process);
  written_(process, item);
  return number;
}

void Contention::CheckQuiet() {
  const std::vector<int> serving = world_.Serving();
  if (serving.empty()) return;
  const std::string key = "c" + std::to_string(time_.Below(kKeys));
  const auto at = [&] { return serving[time_.Below(serving.size())]; };
  if (!Do(at(), key, {}, std::nullopt, kPatientMs)) return;
  world_.RunUntil(world_.now() + kQuietMs);
  std::vector<int> writers{at()};
  for (int round = 0; round < 2; ++round) {
    std::vector<std::size_t> race;
    std::optional<Condition> base;
    for (const int pod : writers) {
      const EntryRef held = world_.cache(pod).Peek(kType, key);
      if (!base) base = Condition{held->version()};
      if (const auto number = Do(pod, key, {}, base, kPatientMs)) race.push_back(*number);
    }
    world_.RunUntil(world_.now() + kQuietMs);
    if (race.size() == writers.size()) conditions_.CheckQuiet(race);
    writers = serving;
  }
}

}  // namespace podmirror::sim
