// A Link carries our writes to one peer: dialling and handshake, the cursor in our backlog, the one
// batch in flight, heartbeats, and the repair pass with this peer. It never does I/O.
// Thread safety: none; belongs to the Node, under the driver's mutex.
// Invariants: (1) the peer's present incarnation holds a write m if run_start() <= m <= acked(),
// the
//                 unbroken run of acknowledged batches, and m is not one of missing(), the large
//                 ones that are still on their way beside it; or m <= covered(): a completed pass
//                 began when m was in our cache.
//             (2) at most one batch is in flight, and its number is answered before the run
//             restarts. (3) open() implies that the handshake succeeded on the stream conn().
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/env.h"
#include "base/peer.h"
#include "base/status.h"
#include "sync/backlog.h"
#include "sync/clock.h"
#include "sync/large_writes.h"
#include "sync/message.h"
#include "sync/repair.h"
#include "sync/types.h"

namespace podmirror::sync {

inline constexpr std::int64_t kHeartbeatMs = 1000;
inline constexpr std::int64_t kHandshakeMs = 2000;
inline constexpr std::int64_t kMinBackoffMs = 100;
inline constexpr std::int64_t kMaxBackoffMs = 2000;
inline constexpr std::int64_t kRefusedBackoffMs = 5000;
inline constexpr std::int64_t kDuplicateBackoffMs = 30'000;
inline constexpr std::size_t kBatchEntries = 4096;
// A copy counts as checked by a pass that began at most this long ago.
inline constexpr std::int64_t kCheckedMs = 60'000;

class Link {
 public:
  enum class Phase { kWaiting, kDialling, kHandshake, kOpen };

  // reach: what counts until the first pass with it is complete, see reach().
  Link(PodRecord record, std::uint64_t reach, SteadyMs now)
      : id_(record.id()),
        record_(std::move(record)),
        contact_(reach),
        reach_(reach),
        contact_at_(now) {}

  // --- the stream ---
  const std::string& id() const { return id_; }  // of its record
  const PodRecord& record() const { return record_; }
  void set_record(PodRecord record) { record_ = std::move(record); }
  Phase phase() const { return phase_; }
  bool open() const { return phase_ == Phase::kOpen; }
  ConnId conn() const { return conn_; }  // 0 while kWaiting
  bool legacy() const { return legacy_; }
  // Met through another address, this is our own process or a peer that another link serves: not a
  // peer of its own.
  bool duplicate() const { return duplicate_; }
  bool refused() const { return refusal_ != RefusalReason::kNone; }
  // It belongs to another cluster: it cannot hold our data, and nobody waits for it.
  bool foreign() const { return refusal_ == RefusalReason::kOtherCluster; }
  RefusalReason refusal() const { return refusal_; }
  const std::string& error() const { return error_; }
  // A writer may wait for this peer: there is a stream, or the first attempt is still under way.
  bool reachable() const { return open() || (failures_ == 0 && !refused()); }
  // Tried at least once in vain since it was last open.
  bool failed() const { return failures_ > 0; }
  int failures() const { return failures_; }
  // When it was last lost, or tried in vain; -1 = never.
  SteadyMs lost_at() const { return lost_at_; }
  // Every attempt since `since`, for kGoneMs and longer, was answered, and in vain: somebody is
  // there who knows that our peer is not. Silence never tells that.
  bool Gone(SteadyMs since, SteadyMs now) const {
    return !open() && lost_at_ >= since && denied_since_ >= 0 &&
           now - std::max(denied_since_, since) >= kGoneMs;
  }

  bool DialDue(SteadyMs now) const { return phase_ == Phase::kWaiting && now >= retry_at_; }
  void Dialled(ConnId conn, SteadyMs now);
  void Opened(SteadyMs now);
  // The handshake succeeded. Returns true when the run restarted at the head of the backlog: the
  // peer is a new incarnation, or its cursor has fallen out.
  bool Accept(const HelloReply& reply, const Backlog& backlog, SteadyMs now);
  void Refuse(RefusalReason reason, std::string detail);
  void MarkDuplicate() { duplicate_ = true; }
  // The peer is alive: no reason to wait, unless it refused us.
  void RetryNow() {
    if (!refused() && !duplicate_) retry_at_ = 0;
  }
  // The stream is gone. jitter: any random number.
  void Lost(Code code, std::string error, SteadyMs now, std::uint64_t jitter);
  // Silent or stuck in the handshake for too long.
  bool TimedOut(SteadyMs now) const;
  void Heard(SteadyMs now) { heard_at_ = now; }

  // --- the peer, as it last told ---
  Incarnation incarnation() const { return incarnation_; }
  bool synced() const { return open() && !legacy_ && synced_; }
  bool draining() const { return draining_; }
  bool link_open() const { return link_open_; }
  bool lost() const { return lost_; }  // as in Heartbeat
  const PeerClock& clock() const { return clock_; }
  PeerClock& clock() { return clock_; }
  // Whether its clock was last said to be far from ours.
  bool clock_apart() const { return clock_apart_; }
  void set_clock_apart(bool apart) { clock_apart_ = apart; }
  WallMs process_started_ms() const { return process_started_ms_; }
  const std::string& uid() const { return uid_; }  // as the peer told, empty before
  void OnHeartbeat(const Heartbeat& heartbeat, SteadyMs now);
  // What came on the peer's own link to us.
  void OnPeersHeartbeat(const Heartbeat& heartbeat);
  // A legacy peer could not do what it was asked, and still lives; empty: it could.
  void set_complaint(std::string complaint) { error_ = std::move(complaint); }

  // --- our writes ---
  std::uint64_t run_start() const { return run_start_; }
  std::uint64_t acked() const { return acked_; }
  std::uint64_t covered() const { return covered_; }
  // The peer is known to hold all our writes up to this number; those that a restarted run left
  // out, when a pass has brought them.
  std::uint64_t held() const {
    const std::uint64_t run = large_.empty() ? acked_ : std::min(acked_, *missing().begin() - 1);
    return std::max(covered_, restart_pending_ ? held_ : run);
  }
  // What it is not known to hold.
  struct Behind {
    std::uint64_t entries = 0;
    std::uint64_t bytes = 0;  // in memory, of those that the backlog still has
  };
  Behind behind(const Backlog& backlog) const;
  const std::set<std::uint64_t>& missing() const { return large_.missing(); }
  // All writes have been sent and acknowledged.
  bool Flushed(const Backlog& backlog) const { return large_.empty() && acked_ >= backlog.last(); }
  SteadyMs last_ack_at() const { return last_ack_at_; }
  bool BatchDue(const Backlog& backlog) const {
    return open() && in_flight_ == 0 && cursor_ <= backlog.last();
  }
  // The next batch. Requires: BatchDue(), and no restart due.
  Batch NextBatch(const Backlog& backlog);
  // A fragment of a write that batches left out is to be sent: one at a time, also with the pass.
  bool FragmentDue(SteadyMs now) const {
    return open() && large_.Due(now) && !(pass_ && pass_->large() && pass_->large()->pushing());
  }
  LargeWrites& large() { return large_; }
  const LargeWrites& large() const { return large_; }
  // The pass and the large writes take turns. True: the pass is first.
  bool TakeTurn() { return pass_first_ = !pass_first_; }
  // The backlog does not hold the cursor or a large write any more. True: the run was restarted at
  // the head.
  bool RestartIfBehind(const Backlog& backlog);
  // The number of what has this place in the batch in flight.
  std::uint64_t NumberOf(std::uint32_t place) const;
  // True when that answers the batch in flight.
  bool OnAck(std::uint64_t seq, SteadyMs now);

  // --- heartbeat ---
  bool HeartbeatDue(SteadyMs now) const { return open() && now >= heartbeat_at_; }
  void HeartbeatSent(SteadyMs next_at) {
    heartbeat_at_ = next_at;
    heartbeat_last_ = true;
  }
  // The last message was one: whatever else is due goes first.
  bool heartbeat_last() const { return heartbeat_last_; }
  void OtherSent() { heartbeat_last_ = false; }
  // Before all else.
  void HeartbeatNow() {
    heartbeat_at_ = 0;
    heartbeat_last_ = false;
  }
  bool HelloDue() const { return phase_ == Phase::kHandshake && !hello_sent_; }
  void HelloSent() { hello_sent_ = true; }

  // --- repair ---
  std::optional<Pass>& pass() { return pass_; }
  const std::optional<Pass>& pass() const { return pass_; }
  bool restart_pending() const { return restart_pending_; }
  // Our hlc at the start of the last completed pass with it.
  std::uint64_t contact() const { return contact_; }
  // How far the purge floor may go while this peer is in the set: its contact, but no further than
  // the contacts of the peer itself had come then. What came to it later, from a pod that had been
  // away, is newer than these.
  std::uint64_t reach() const { return reach_; }
  // When the last pass with it was completed, or when it appeared.
  SteadyMs contact_at() const { return contact_at_; }
  std::uint64_t peer_floor() const { return peer_floor_; }  // as it last told
  // How far its contacts have come, as it last told; 0 before.
  std::uint64_t peer_reached() const { return peer_reached_; }
  // How far its floor may go, as it last told; 0 before.
  std::uint64_t peer_reach() const { return peer_reach_; }
  bool PassDue(SteadyMs now) const { return pass_wanted_ || now >= pass_at_; }
  // A pass is to begin as soon as may be, after the present one if there is one.
  void PassNow() { pass_wanted_ = true; }
  void BeginPass(std::uint64_t id, std::uint64_t hlc, const Backlog& backlog, SteadyMs now);
  // The pass is done: its coverage counts from now on. next_at: when the next one is due.
  void EndPass(SteadyMs now, SteadyMs next_at);
  // hlc at which the last pass that this incarnation of ours completed with it began; 0 = none.
  std::uint64_t passed() const { return passed_; }
  // A pass has brought what the peer held, and whatever it wrote since has been on its way to us
  // without a break.
  bool Checked(SteadyMs now) const { return checked_at_ >= 0 && now - checked_at_ <= kCheckedMs; }
  // Something may have been missed: no pass that has begun counts as a check any more.
  void SpoilCheck() {
    checked_at_ = -1;
    pass_checks_ = false;
  }
  bool PassStuck(SteadyMs now) const { return pass_ && now - pass_progress_at_ > kPassStuckMs; }
  void PassProgress(SteadyMs now) { pass_progress_at_ = now; }
  void AbandonPass(SteadyMs next_at) {
    pass_.reset();
    pass_at_ = next_at;
  }

 private:
  static constexpr std::int64_t kPassStuckMs = 10'000;
  static constexpr std::int64_t kGoneMs = 3000;

  void Restart(const Backlog& backlog);
  void AcceptLegacy(bool met, const Backlog& backlog);

  std::string id_;
  PodRecord record_;
  Phase phase_ = Phase::kWaiting;
  ConnId conn_ = 0;
  bool legacy_ = false;
  bool fragments_ = false;  // it has kFragmentsFeature
  bool duplicate_ = false;
  RefusalReason refusal_ = RefusalReason::kNone;
  std::string error_;
  int failures_ = 0;
  SteadyMs retry_at_ = 0;
  SteadyMs lost_at_ = -1;
  SteadyMs denied_since_ = -1;  // all attempts since then were answered, in vain; -1 = not so
  SteadyMs phase_since_ = 0;
  SteadyMs heard_at_ = 0;
  bool hello_sent_ = false;

  Incarnation incarnation_ = 0;  // the last one met, 0 = none yet
  std::string uid_;
  bool synced_ = false;
  bool draining_ = false;
  bool link_open_ = false;
  bool lost_ = false;
  PeerClock clock_;
  bool clock_apart_ = false;
  WallMs process_started_ms_ = 0;

  std::uint64_t run_start_ = 1;
  std::uint64_t cursor_ = 1;  // the next write to send
  std::uint64_t acked_ = 0;
  std::uint64_t covered_ = 0;
  std::uint64_t held_ = 0;               // before the run restarted
  std::uint64_t in_flight_ = 0;          // last number of the batch in flight, 0 = none
  std::vector<std::uint64_t> left_out_;  // numbers that it has left out, rising
  LargeWrites large_;                    // of the run
  bool pass_first_ = false;
  SteadyMs last_ack_at_ = -1;
  SteadyMs heartbeat_at_ = 0;
  bool heartbeat_last_ = false;

  std::optional<Pass> pass_;
  bool restart_pending_ = false;  // the run restarted; no pass has healed that yet
  bool pass_heals_ = false;       // the present pass began after the last restart
  bool pass_checks_ = false;      // nothing has spoiled the check since the present pass began
  SteadyMs pass_begun_at_ = 0;
  SteadyMs checked_at_ = -1;  // when the pass began that counts as a check; -1 = none does
  bool pass_wanted_ = false;
  SteadyMs pass_at_ = 0;
  SteadyMs pass_progress_at_ = 0;
  std::uint64_t contact_;
  std::uint64_t reach_;
  SteadyMs contact_at_;
  std::uint64_t peer_floor_ = 0;
  std::uint64_t peer_reached_ = 0;
  std::uint64_t peer_reach_ = 0;
  std::uint64_t passed_ = 0;
};

}  // namespace podmirror::sync
