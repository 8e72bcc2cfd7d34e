// Waiters are the writes whose callers wait for acknowledgements of peers, or for their verdicts
// (conditions.h).
// Thread safety: none; belongs to the Node.
// Invariants: (1) a peer is counted as acknowledging a write only once it holds it (Link,
//                 invariant 1), a write on a condition only once it has said that it is fine.
//             (2) by_key_ has every waiter on a condition.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/env.h"
#include "base/peer.h"
#include "sync/conditions.h"
#include "sync/message.h"
#include "sync/types.h"

namespace podmirror::sync {

// How many acknowledgements of `peers` peers a level asks for; a majority counts this pod.
std::uint32_t NeededAcks(AckLevel level, std::uint32_t peers);

class Waiters {
 public:
  // Is told whatever is answered 200; must outlive the waiters.
  explicit Waiters(Conditions& conditions) : conditions_(conditions) {}

  // Its record stands for a peer, and stays where it is until Removed: a write copies no texts.
  struct Peer {
    const PodRecord* record = nullptr;
    bool reachable = true;  // false: not waited for
    bool refused = false;   // it took the write for dead, or a part of it; or it gives no verdict
  };
  using Completions = std::vector<std::pair<WriteDone, WriteOutcome>>;

  // More writes than this do not wait: they end at once as not met.
  static constexpr std::size_t kMaxWaiters = 65536;

  // One write, for Add.
  struct Write {
    std::uint64_t first = 0;  // its numbers
    std::uint64_t last = 0;
    Version version;
    bool legacy_takes = true;                  // an old service can be told it: see Writes
    std::optional<std::uint64_t> condition{};  // the key hash of a write on a condition
    std::vector<std::string> gone{};           // who stays pending from the start, by name

    // Of its first entry: they follow each other.
    std::uint64_t oldest_hlc() const { return version.hlc - (last - first); }
  };
  // `peers` are those counted, oldest first. Ends at once when nothing is to be waited for.
  void Add(const Write& write, const WriteOptions& options, SteadyMs now, std::vector<Peer> peers,
           WriteDone done, Completions& out);

  // The peer does not take the write of this number: it stays pending, and is not waited for.
  void Refused(const PodRecord& peer, std::uint64_t number, Completions& out);
  // A peer's verdict on the write of this number.
  void Judged(const PodRecord& peer, std::uint64_t number, const Verdict& verdict,
              Completions& out);
  // Those on a condition between `base` and `winner` of this key are lost to `winner`.
  void Overrun(std::uint64_t key_hash, Version base, Version winner, Completions& out);
  // What a peer holds: the writes start..last, but for those that are missing.
  struct Held {
    std::uint64_t start = 0;
    std::uint64_t last = 0;
    const std::set<std::uint64_t>& missing;
    bool by_pass = false;  // a verdict may still come
    // What is at or below this hlc it may have taken for dead.
    std::uint64_t dead_floor = 0;
  };
  // That has been told before of those up to first - 1.
  void Acked(const PodRecord& peer, const Held& held, std::uint64_t first, Completions& out);
  // The peer is not waited for any more; it stays pending.
  void Unreachable(const PodRecord& peer, Completions& out);
  // It turned out to be an old service: it does not count for what it cannot be told.
  void Legacy(const PodRecord& peer, Completions& out);
  // The peer left the set: it does not count any more, but for writes on a condition, where it
  // stays pending.
  void Removed(const PodRecord& peer, Completions& out);
  // Ends what has waited long enough.
  void Tick(SteadyMs now, Completions& out);
  // Ends all; those not met stay so.
  void EndAll(Completions& out);

  std::size_t size() const { return waiters_.size(); }

 private:
  struct Waiter {
    Write write;
    AckLevel level;
    SteadyMs deadline;
    std::uint32_t acked = 0;
    std::vector<Peer> pending;
    std::optional<Version> winner{};  // of a write on a condition: it is lost to this one
    WriteDone done;

    // All that count, whatever they said.
    std::uint32_t Peers() const {
      return acked + static_cast<std::uint32_t>(pending.size() + write.gone.size());
    }
    bool Met() const;
    bool Over() const;  // met, or nobody left who could change that
    WriteOutcome Outcome() const;
  };
  using Map = std::multimap<std::uint64_t, Waiter>;

  // The end when none waits for this number.
  Map::iterator Find(std::uint64_t number);
  void End(Waiter& waiter, Completions& out);
  // Ends the waiter if it is over; returns the one behind it.
  Map::iterator Settle(Map::iterator it, Completions& out);

  Conditions& conditions_;
  Map waiters_;                                         // by their last number
  std::multimap<std::uint64_t, std::uint64_t> by_key_;  // last numbers, by condition
};

}  // namespace podmirror::sync
