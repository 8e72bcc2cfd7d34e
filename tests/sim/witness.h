// Witness checks the promises from outside: it looks at caches, answers and messages, never at what
// the core believes. A broken promise is a line of text; a run without any has kept them all.
//
//   versions never go back    what a process was once seen to hold, it holds or something newer;
//                             nothing deleted or expired is live again at the same or an older
//                             version; what it wrote it holds, and nothing that nobody wrote
//                             (checked with every write and message)
//   acknowledgements          each peer that an answer counts held the write when it was given; its
//                             numbers fit together; it waits for whom it is to wait, and for nobody
//                             else; who has held the write for long is counted
//   status                    what a daemon says that a peer has acknowledged, that peer holds
//   ready                     a pod that becomes ready holds what all held that served when it
//                             began, and what each that it has to have checked with held for long
//   expiry                    nothing is called dead that lives by the clock of anybody in contact
//   bounds                    backlog, size of a message, one batch at a time, tombstones, joiners
//                             of one donor
//   dropped as dead           only what is deleted by now, or was accepted by who was missing in
//                             somebody's set for tombstone-ttl, then and that long ago
//   convergence, nothing lost, digests: CheckConverged, CheckNothingLost, CheckDigests
// Thread safety: none; one thread.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "sim/sim_world.h"

namespace podmirror::sim {

inline std::string NameOf(const Process& process) { return "pod-" + std::to_string(process.pod); }

// Clocks no further apart agree on what has expired, after that.
inline constexpr WallMs kAgreeing = 5000;
// A peer that is silent for so long is called lost.
inline constexpr SteadyMs kUnnoticed = sync::kSilenceMs + 1000;

// A draining pod takes a peer for gone when all streams to it have been reset for so long; a reset
// is told a few milliseconds later.
inline constexpr SteadyMs kTakenForGone = sync::kGoneMs - 10;

// Every entry of a cache, tombstones included.
template <typename Visit>
void ForEach(const Cache& cache, Visit visit) {
  for (std::uint32_t bucket = 0; bucket < kBuckets; bucket = cache.NextStored(bucket + 1)) {
    for (const EntryRef& entry : cache.Bucket(bucket)) visit(*entry);
  }
}

class Witness {
 public:
  // Watches the world from now on; the world must outlive it.
  Witness(SimWorld& world, const SimOptions& options);

  // A write that the core has taken. Call it once it is applied.
  void Written(Process& at, const sync::WriteItem& item);
  // The answer to a write of one item, which was asked for at that time.
  void Answered(Process& at, const sync::WriteItem& item, const sync::WriteOptions& options,
                SteadyMs asked_at, const sync::WriteOutcome& outcome);
  // The answer to a write on a condition; whom it waits for is not looked at.
  void AnsweredIf(const Process& at, const sync::WriteItem& item,
                  const sync::WriteOutcome& outcome);
  // The ids of those that its discovery lists.
  std::set<std::string> ListedBy(const Process& process);
  // Whether what this pod took then may be dropped as dead, now or later.
  bool MayBeGivenUp(const Process& at, SteadyMs then) { return MayBeDead({then, at.serial, 0}); }
  // A pod that serves did not take a write.
  void Refused(const Process& at, sync::WriteRefusal refusal);
  // Nobody is ever out of contact: what lives by the clock of any daemon lives.
  void TrustClocks() { trust_clocks_ = true; }

  // --- at a moment when it ought to be so ---
  // Whether the digests are equal.
  bool Same(const std::vector<int>& pods);
  void CheckConverged(const std::vector<int>& pods);
  // Everything that a living process that was ready by then was seen to hold until now is on all of
  // the pods, or newer. One that is ready later hands on what it alone was told while it joined.
  void CheckNothingLost(const std::vector<int>& pods, SteadyMs ready_by);
  void CheckDigests();
  void CheckNoTombstones();
  void CheckBounds();
  // What this daemon says of its peers.
  void CheckStatus(int pod);
  // That no peer lacks anything.
  void CheckNobodyBehind(const std::vector<int>& pods);
  // Every old service holds what these daemons hold.
  void CheckOldServices(const std::vector<int>& pods);
  // Turned into tombstones since the last time, by these clocks.
  void CheckExpired();
  // Notes a broken promise.
  void Fail(const std::string& what);

  const std::vector<std::string>& failures() const { return failures_; }

 private:
  struct Seen {
    Version version;
    std::uint64_t write = 0;  // its hash, of written_
    bool removed = false;     // deleted, or nobody's business any more
    bool dead = false;        // was seen as a tombstone at this version
    bool forgotten = false;   // and has been purged
    WallMs expires_at = 0;
    SteadyMs at = 0;  // when this was seen first
  };
  // Since when something is heard of a process without a pause, and when it was last.
  struct Contact {
    SteadyMs since = 0;
    SteadyMs last = -kLongAgo;
  };
  static constexpr SteadyMs kLongAgo = 1'000'000;
  using Holdings = absl::flat_hash_map<std::uint64_t, Seen>;  // by key hash

  // What is known of one process.
  struct Record {
    Holdings seen;
    absl::flat_hash_map<std::uint64_t, Contact> heard;  // by serial
    Holdings base;  // what every pod that served when it began held
    std::set<std::uint64_t> base_of;
    bool base_valid = true;  // one of these has served since, and said so in its record
    std::map<std::uint64_t, SteadyMs> missing_since;  // in the sets of others, by serial
    // When it was missing for tombstone-ttl or longer: from, until.
    std::vector<std::pair<SteadyMs, SteadyMs>> away;
    std::map<std::string, SteadyMs> told;  // in the set that it was last told, by id, since when
    std::set<std::string> told_ready;      // those of them that are Ready
    std::set<std::string> told_terminating;
    std::vector<std::pair<std::uint64_t, Version>> own;  // its writes by number: key hash, version
    std::set<std::uint64_t> expiring;                    // keys that it holds live, and that expire
    std::optional<SteadyMs> synced_at;
    std::map<std::uint64_t, SteadyMs> served;  // connected joiners that it gave chunks, last time
    // Whom a batch is on its way to, and its last number.
    std::map<std::uint64_t, std::uint64_t> unanswered;
  };

  struct Write {
    SteadyMs at = 0;
    std::uint64_t by = 0;  // serial
    WallMs expires_at = 0;
  };
  // What brought an entry: a write or a live one; a tombstone; word that it is dead.
  enum class By : std::uint8_t { kLive, kTombstone, kDead };

  Record& Of(const Process& process) { return records_[process.serial]; }
  void Look(Process& at, std::uint64_t key_hash, By by = By::kLive);
  void LookGone(Process& at, std::uint64_t key_hash, Seen& seen, By by);
  // Whether it may be away: deleted, or it has expired by some clock that counts.
  bool Mortal(const Seen& seen) const { return seen.removed || Expired(seen.expires_at); }
  bool Expired(WallMs expires_at) const;
  void CheckCalledDead(Process& at, std::uint64_t key_hash, const Seen& seen);
  void Started(Process& process);
  void BecameReady(Process& process);
  void CheckHeard(Process& process);
  void CheckSuccessor(Process& process);
  bool CheckHolds(const Process& process, const Process& other);
  void CheckMost(const Process& process);
  void Ended(Process& process, bool clean);
  void CheckHandedToOld(const Process& process, const Holdings& others);
  void Told(Process& observer, const PeerSet& set);
  bool MayDrop(std::uint64_t key_hash, const Seen& seen);
  static std::uint64_t WriteHash(Version version, std::string_view value);
  bool MayBeDead(const Write& write);
  bool HeldLive(const Process& but, std::uint64_t key_hash);
  void Received(Process& at, const sync::Message& message);
  void Heard(const Process& at, const Process& from);
  // Whether its discovery has listed the other for so long.
  bool Knows(const Process& at, const Process& other, SteadyMs for_ms);
  // Whether it has heard of the other for so long without a pause.
  bool Hears(const Process& at, const Process& from, SteadyMs for_ms);
  bool InContact(const Process& a, const Process& b, SteadyMs for_ms) {
    return Hears(a, b, for_ms) && Hears(b, a, for_ms);
  }
  // The process that a peer's name stands for now; null when none runs.
  const Process* Named(const std::string& name) const;
  std::string ShownName(const Process& process) const;
  std::size_t CountHolders(const Process& at, const sync::WriteItem& item,
                           const sync::WriteOutcome& outcome);
  void CheckNumbers(const Process& at, const sync::WriteOutcome& outcome);
  void CheckPending(const Process& at, const sync::WriteItem& item, SteadyMs asked_at,
                    SteadyMs timeout_ms, const sync::WriteOutcome& outcome);
  bool HeldUp(const Process& at);
  void CheckForeign(const Process& at, const std::string& name);
  void CheckAcknowledged(const Process& at, const Process& peer, std::uint64_t seq);
  void Sent(Process& from, const Process& to, const sync::Message& message);
  void CheckBatches(Process& from, const Process& to, const sync::Message& message);
  void TakeBase(Record& record, const Process& self);
  bool Expiring(const Entry& entry) const;
  bool HeldByFloor(const Entry& entry, int one, int other);
  bool Holds(const Process& process, std::uint64_t key_hash, Version version);
  static std::string Text(std::string_view key, Version version);

  SimWorld& world_;
  const SimOptions options_;
  bool trust_clocks_ = false;
  std::vector<Record> records_;                        // by serial
  absl::flat_hash_map<std::uint64_t, Write> written_;  // by hash of version and value
  absl::flat_hash_map<std::uint64_t, std::pair<std::int32_t, std::string>> keys_;  // by key hash
  bool was_any_synced_ = false;
  bool began_anew_ = false;          // a pod had to start alone while another held the data
  std::optional<SteadyMs> left_at_;  // when a pod was last missed in a set
  std::uint64_t largest_ = 0;        // bytes of memory of the largest write
  std::vector<std::string> failures_;
};

}  // namespace podmirror::sim
