// Witness checks the promises from outside: it looks at caches, answers and messages, never at what
// the core believes. A broken promise is a line of text; a run without any has kept them all.
//
//   versions never go back    what a process was once seen to hold, it holds or something newer;
//                             nothing deleted or expired is live again at the same or an older
//                             version; what it wrote it holds, and nothing that nobody wrote
//                             (checked with every write and message)
//   acknowledgements          each peer that an answer counts held the write, when it was given
//   ready                     a pod that becomes ready holds what all that served when it began did
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

class Witness {
 public:
  // Watches the world from now on; the world must outlive it.
  Witness(SimWorld& world, const SimOptions& options);

  // A write that the core has taken. Call it once it is applied.
  void Written(Process& at, const sync::WriteItem& item);
  // The answer to a write of one item.
  void Answered(Process& at, const sync::WriteItem& item, const sync::WriteOutcome& outcome);

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
  // Notes a broken promise.
  void Fail(const std::string& what);

  const std::vector<std::string>& failures() const { return failures_; }

 private:
  struct Seen {
    Version version;
    std::uint64_t write = 0;  // its hash, of written_
    bool mortal = false;      // a tombstone, or it expires
    bool dead = false;        // was seen as a tombstone at this version
    bool forgotten = false;   // and has been purged
    SteadyMs at = 0;          // when this was seen first
  };
  using Holdings = absl::flat_hash_map<std::uint64_t, Seen>;  // by key hash

  // What is known of one process.
  struct Record {
    Holdings seen;
    Holdings base;  // what every pod that served when it began held
    std::set<std::uint64_t> base_of;
    bool base_valid = true;  // one of these has served since, and said so in its record
    std::map<std::uint64_t, SteadyMs> missing_since;  // in the sets of others, by serial
    // When it was missing for tombstone-ttl or longer: from, until.
    std::vector<std::pair<SteadyMs, SteadyMs>> away;
    std::set<std::string> told;        // UIDs in the set that it was last told
    std::set<std::string> told_ready;  // those of them that are Ready
    std::optional<SteadyMs> synced_at;
    std::map<std::uint64_t, SteadyMs> served;  // connected joiners that it gave chunks, last time
    // Whom a batch is on its way to, and its last number.
    std::map<std::uint64_t, std::uint64_t> unanswered;
  };

  Record& Of(const Process& process) { return records_[process.serial]; }
  void Look(Process& at, std::uint64_t key_hash, bool told_dead = false);
  void Started(Process& process);
  void BecameReady(Process& process);
  void Ended(Process& process, bool clean);
  void Told(Process& observer, const PeerSet& set);
  bool MayDrop(std::uint64_t key_hash, const Seen& seen);
  void Received(Process& at, const sync::Message& message);
  void Sent(Process& from, const Process& to, const sync::Message& message);
  void CheckBatches(Process& from, const Process& to, const sync::Message& message);
  void TakeBase(Record& record, const Process& self);
  bool Expiring(const Entry& entry) const;
  bool HeldByFloor(const Entry& entry, int one, int other);
  bool Holds(const Process& process, std::uint64_t key_hash, Version version);
  static std::string Text(std::string_view key, Version version);

  SimWorld& world_;
  const SimOptions options_;
  std::vector<Record> records_;  // by serial
  struct Write {
    SteadyMs at = 0;
    std::uint64_t by = 0;  // serial
  };
  absl::flat_hash_map<std::uint64_t, Write> written_;  // by hash of version and value
  absl::flat_hash_map<std::uint64_t, std::pair<std::int32_t, std::string>> keys_;  // by key hash
  bool was_any_synced_ = false;
  bool began_anew_ = false;          // a pod had to start alone while another held the data
  std::optional<SteadyMs> left_at_;  // when a pod was last missed in a set
  std::uint64_t largest_ = 0;        // bytes of memory of the largest write
  std::vector<std::string> failures_;
};

}  // namespace podmirror::sim
