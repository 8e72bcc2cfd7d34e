// A Run carries our writes to one peer: the cursor in our backlog, the one batch in flight, and
// what the peer is known to hold. Without a break it goes on over many streams; it restarts at the
// head of the backlog for a new incarnation of the peer, or when the cursor has fallen out of it. A
// pass brings what a restart leaves out.
// Thread safety: none; belongs to its Link.
// Invariants: (1) the peer's present incarnation holds a write m if start() <= m <= acked(), and m
//                 is not one of missing(), the large ones that are still on their way; or if
//                 m <= covered(): a completed pass began when m was in our cache.
//             (2) at most one batch is in flight, and its number is answered before the run
//                 restarts.
#pragma once

#include <algorithm>
#include <cstdint>
#include <set>
#include <vector>

#include "base/env.h"
#include "sync/backlog.h"
#include "sync/large_writes.h"
#include "sync/message.h"

namespace podmirror::sync {

inline constexpr std::size_t kBatchEntries = 4096;

class Run {
 public:
  std::uint64_t start() const { return start_; }
  std::uint64_t acked() const { return acked_; }
  std::uint64_t covered() const { return covered_; }
  const std::set<std::uint64_t>& missing() const { return large_.missing(); }
  // It restarted, and no pass has brought yet what that left out.
  bool broken() const { return broken_; }
  // The peer is known to hold all our writes up to this number; those that a restart left out, when
  // a pass has brought them.
  std::uint64_t held() const {
    const std::uint64_t run = large_.empty() ? acked_ : std::min(acked_, *missing().begin() - 1);
    return std::max(covered_, broken_ ? held_before_ : run);
  }
  // What it is not known to hold.
  struct Behind {
    std::uint64_t entries = 0;
    std::uint64_t bytes = 0;  // in memory, of those that the backlog still has
  };
  Behind behind(const Backlog& backlog) const;
  // All writes have been sent and acknowledged.
  bool Flushed(const Backlog& backlog) const { return large_.empty() && acked_ >= backlog.last(); }
  SteadyMs last_ack_at() const { return last_ack_at_; }  // -1 = never

  // The handshake succeeded. met: with the incarnation that it was met with before. True when the
  // run restarted.
  bool Continue(bool met, bool fragments, const Backlog& backlog);
  // The same with a peer that speaks hellorpc.Sync only. Such a service does not tell one run of it
  // from the next, and no pass mends a run that was broken: it gets what the backlog still holds,
  // and the pass of the oldest daemon brings the rest.
  void ContinueLegacy(bool met, const Backlog& backlog);
  void StreamLost();
  // The backlog does not hold the cursor or a large write any more, and nothing is in flight.
  bool RestartDue(const Backlog& backlog) const { return in_flight_ == 0 && FallenOut(backlog); }
  void Restart(const Backlog& backlog);

  bool BatchDue(const Backlog& backlog) const {
    return in_flight_ == 0 && cursor_ <= backlog.last();
  }
  // The next batch. Requires: BatchDue, and no restart due.
  Batch NextBatch(const Backlog& backlog);
  // The number of what has this place in the batch in flight.
  std::uint64_t NumberOf(std::uint32_t place) const;
  // True when that answers the batch in flight.
  bool OnAck(std::uint64_t seq, SteadyMs now);
  LargeWrites& large() { return large_; }
  const LargeWrites& large() const { return large_; }

  // A pass is complete that began when the peer lacked nothing up to `seq` but what it brought.
  // mended: it began after the last restart.
  void Covered(std::uint64_t seq, bool mended);

 private:
  bool FallenOut(const Backlog& backlog) const {
    return cursor_ < backlog.first() || large_.FallenOut(backlog);
  }

  bool fragments_ = false;  // the peer has kFragmentsFeature
  std::uint64_t start_ = 1;
  std::uint64_t cursor_ = 1;  // the next write to send
  std::uint64_t acked_ = 0;
  std::uint64_t covered_ = 0;
  std::uint64_t held_before_ = 0;  // held() when the run restarted
  bool broken_ = false;
  std::uint64_t in_flight_ = 0;          // last number of the batch in flight, 0 = none
  std::vector<std::uint64_t> left_out_;  // numbers that it has left out, rising
  LargeWrites large_;
  SteadyMs last_ack_at_ = -1;
};

}  // namespace podmirror::sync
