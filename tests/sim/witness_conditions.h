// ConditionsWitness keeps the history of a few keys that are written on conditions, by itself and
// from outside, and checks what the answers promise (README.md, "Conditional writes"):
//
//   200        of two writes of one key that are both answered 200, the greater has seen the
//              lesser; whoever is not said to be pending holds it, and everybody that is listed was
//              asked
//   412        the pod had something else; nothing was applied
//   409        the winner is a greater write of this key
//   in quiet   a lone write gets 200; of those that race one gets 200, the greatest, and the others
//              409
// Thread safety: none; one thread.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "sim/sim_world.h"
#include "sim/witness.h"

namespace podmirror::sim {

enum class Answer : std::uint8_t { kNone, kDone, kConflict, kFailed, kOpen };

// How many answers of each kind.
struct Answers {
  std::uint64_t done = 0;      // 200
  std::uint64_t conflict = 0;  // 409
  std::uint64_t failed = 0;    // 412
  std::uint64_t open = 0;      // 202

  Answers& operator+=(const Answers& other) {
    done += other.done;
    conflict += other.conflict;
    failed += other.failed;
    open += other.open;
    return *this;
  }
};

class ConditionsWitness {
 public:
  // Both must outlive it.
  ConditionsWitness(SimWorld& world, Witness& witness) : world_(world), witness_(witness) {}

  // A write of one of the keys, with a condition or without. Returns its number, for Answered.
  std::size_t Asked(const Process& at, const std::string& key, const sync::WriteItem& item,
                    const std::optional<Condition>& condition);
  void Answered(std::size_t number, const sync::WriteOutcome& outcome);
  // It was applied, and is what `at` holds now.
  void Applied(std::size_t number, const Process& at);

  Answer answer(std::size_t number) const { return writes_[number].answer; }
  Version version(std::size_t number) const { return writes_[number].version; }
  const Answers& answers() const { return answers_; }

  // Over the whole history.
  void CheckHistory();
  // Asked for when all was quiet: those of one race, or one alone.
  void CheckQuiet(const std::vector<std::size_t>& race);

 private:
  struct Write {
    const Process* at = nullptr;
    std::string key;
    std::optional<Condition> condition;
    bool remove = false;
    bool timed = false;             // it has a time to live
    std::set<std::string> asked;    // whom its pod's discovery listed
    std::set<std::uint64_t> alive;  // all that ran then, by serial
    Version version;                // {}: not applied, or refused
    Answer answer = Answer::kNone;
    std::optional<Version> winner;
    std::vector<std::string> pending;
    SteadyMs asked_at = 0;
    WallMs latest = 0;  // that any clock has shown when it was answered
    WallMs expires_at = 0;
  };
  using OfKey = std::map<Version, const Write*>;  // those applied

  std::string Text(const Write& write) const;
  void CheckFailed(const Write& write, const sync::WriteOutcome& outcome);
  void CheckKey(const OfKey& writes);
  void CheckPair(const OfKey& writes, const Write& lesser, const Write& greater);
  bool Excused(const OfKey& writes, const Write& lesser, const Write& greater);

  SimWorld& world_;
  Witness& witness_;
  std::vector<Write> writes_;
  Answers answers_;
};

}  // namespace podmirror::sim
