// A Link is all that we keep of one peer: its record, the stream that we dial, what it told, our
// writes to it and the repair passes with it. What concerns one of these alone is theirs; what
// concerns several is here.
// Thread safety: none; belongs to the Node, under the driver's mutex.
#pragma once

#include <cstdint>
#include <string>
#include <utility>

#include "base/env.h"
#include "base/peer.h"
#include "base/status.h"
#include "sync/backlog.h"
#include "sync/connection.h"
#include "sync/link_passes.h"
#include "sync/message.h"
#include "sync/peer_state.h"
#include "sync/run.h"

namespace podmirror::sync {

inline constexpr std::int64_t kHeartbeatMs = 1000;

class Link {
 public:
  // bound: see LinkPasses.
  Link(PodRecord record, std::uint64_t bound, SteadyMs now)
      : id_(record.id()), record_(std::move(record)), passes_(bound, now) {}

  const std::string& id() const { return id_; }  // of its record
  const PodRecord& record() const { return record_; }
  void set_record(PodRecord record) { record_ = std::move(record); }

  Connection& connection() { return connection_; }
  const Connection& connection() const { return connection_; }
  PeerState& peer() { return peer_; }
  const PeerState& peer() const { return peer_; }
  Run& run() { return run_; }
  const Run& run() const { return run_; }
  LinkPasses& passes() { return passes_; }
  const LinkPasses& passes() const { return passes_; }

  ConnId conn() const { return connection_.conn(); }
  bool open() const { return connection_.open(); }
  bool legacy() const { return connection_.legacy(); }
  bool duplicate() const { return connection_.duplicate(); }
  // It belongs to another cluster: it cannot hold our data, and nobody waits for it.
  bool foreign() const { return connection_.refusal() == RefusalReason::kOtherCluster; }
  // It holds all the data, and can be asked for it by our protocol.
  bool synced() const { return open() && !legacy() && peer_.synced; }
  bool Is(Incarnation incarnation) const { return peer_.incarnation == incarnation; }

  // The handshake succeeded. Returns true when the run restarted at the head of the backlog.
  bool Accept(const HelloReply& reply, const Backlog& backlog, SteadyMs now);
  // The stream is gone, or could not be opened. jitter: any random number.
  void Lost(Code code, std::string error, SteadyMs now, std::uint64_t jitter);
  // What came on our stream.
  void OnHeartbeat(const Heartbeat& heartbeat, SteadyMs now);

  // Restarts the run if that is due. True: it did.
  bool RestartIfDue(const Backlog& backlog);
  // Requires: open, no pass under way.
  void BeginPass(std::uint64_t id, std::uint64_t hlc, const Backlog& backlog, SteadyMs now);
  // The pass is complete.
  void EndPass(SteadyMs now, SteadyMs next_at);

  // --- whose turn it is on the stream ---
  bool BatchDue(const Backlog& backlog) const { return open() && run_.BatchDue(backlog); }
  // A fragment of a write that batches left out is to be sent: one at a time, also with the pass.
  bool FragmentDue(SteadyMs now) const;
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
  // The pass and the large writes take turns. True: the pass is first.
  bool TakeTurn() { return pass_first_ = !pass_first_; }

 private:
  void RunRestarted();

  std::string id_;
  PodRecord record_;
  Connection connection_;
  PeerState peer_;
  Run run_;
  LinkPasses passes_;
  SteadyMs heartbeat_at_ = 0;
  bool heartbeat_last_ = false;
  bool pass_first_ = false;
};

}  // namespace podmirror::sync
