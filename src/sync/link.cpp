#include "sync/link.h"

#include <algorithm>
#include <utility>

namespace podmirror::sync {

void Link::Dialled(ConnId conn, SteadyMs now) {
  conn_ = conn;
  phase_ = Phase::kDialling;
  phase_since_ = now;
  hello_sent_ = false;
}

void Link::Opened(SteadyMs now) {
  phase_ = Phase::kHandshake;
  phase_since_ = now;
}

bool Link::Accept(const HelloReply& reply, const Backlog& backlog, SteadyMs now) {
  phase_ = Phase::kOpen;
  refusal_ = RefusalReason::kNone;
  duplicate_ = false;
  uid_ = reply.self.uid;
  error_.clear();
  failures_ = 0;
  legacy_ = reply.legacy;
  fragments_ = !legacy_ && (reply.self.features & kFragmentsFeature) != 0;
  synced_ = reply.self.synced;
  draining_ = false;
  link_open_ = reply.link_open;
  lost_ = false;
  clock_.Told(reply.self.wall, now);
  denied_since_ = -1;
  process_started_ms_ = reply.self.process_started_ms;
  peer_floor_ = reply.self.purge_floor;
  peer_reached_ = 0;
  peer_reach_ = 0;
  heard_at_ = now;
  heartbeat_at_ = now;
  in_flight_ = 0;
  pass_.reset();
  pass_wanted_ = true;
  const bool met = incarnation_ == reply.self.incarnation;
  incarnation_ = reply.self.incarnation;
  cursor_ = acked_ + 1;
  if (legacy_) {
    AcceptLegacy(met, backlog);
    return false;
  }
  if (met && cursor_ >= backlog.first() && !large_.FallenOut(backlog)) return false;
  if (!met) {  // this run of the peer holds nothing that we know of
    covered_ = 0;
    passed_ = 0;
    acked_ = 0;
    restart_pending_ = false;
  }
  Restart(backlog);
  return true;
}

// Such a service does not tell one run of it from the next, and no pass heals a run that was
// broken: it gets what the backlog still holds, and the pass of the oldest daemon brings the rest.
void Link::AcceptLegacy(bool met, const Backlog& backlog) {
  if (!met) cursor_ = backlog.last() + 1;
  cursor_ = std::max(cursor_, backlog.first());
  large_.Clear();
  run_start_ = cursor_;
  acked_ = cursor_ - 1;
  restart_pending_ = false;
}

void Link::Restart(const Backlog& backlog) {
  if (legacy_) {
    AcceptLegacy(true, backlog);
    return;
  }
  held_ = held();
  large_.Clear();
  HeartbeatNow();  // it tells that the run has restarted
  run_start_ = cursor_ = backlog.last() + 1;
  acked_ = backlog.last();
  in_flight_ = 0;
  restart_pending_ = true;
  pass_heals_ = false;
  pass_wanted_ = true;
}

void Link::Refuse(RefusalReason reason, std::string detail) {
  refusal_ = reason;
  error_ = std::move(detail);
}

void Link::Lost(Code code, std::string error, SteadyMs now, std::uint64_t jitter) {
  const bool was_open = open();
  // A pod that does not know our service may know the old one; a lost old one may have been
  // replaced by one that knows ours.
  legacy_ = code == Code::kUnimplemented && !was_open && !legacy_;
  if (!refused()) error_ = std::move(error);
  phase_ = Phase::kWaiting;
  lost_at_ = now;
  if (was_open || code == Code::kDeadline) {
    denied_since_ = -1;
  } else if (denied_since_ < 0) {
    denied_since_ = now;
  }
  SpoilCheck();
  conn_ = 0;
  pass_.reset();
  large_.StreamLost();
  in_flight_ = 0;
  link_open_ = false;
  if (legacy_) {
    retry_at_ = now;
    return;
  }
  const std::int64_t step = std::min(kMaxBackoffMs, kMinBackoffMs << std::min(failures_, 8));
  const std::int64_t wait = duplicate_ ? kDuplicateBackoffMs : refused() ? kRefusedBackoffMs : step;
  retry_at_ = now + wait / 2 + static_cast<std::int64_t>(jitter % static_cast<std::uint64_t>(wait));
  ++failures_;
}

bool Link::TimedOut(SteadyMs now) const {
  switch (phase_) {
    case Phase::kWaiting:
      return false;
    case Phase::kDialling:
    case Phase::kHandshake:
      return now - phase_since_ > kHandshakeMs;
    case Phase::kOpen:
      return now - heard_at_ > kSilenceMs;
  }
  return false;
}

void Link::OnHeartbeat(const Heartbeat& heartbeat, SteadyMs now) {
  OnPeersHeartbeat(heartbeat);
  clock_.Told(heartbeat.wall, now);
  if (link_open_ && !heartbeat.link_open) SpoilCheck();
  link_open_ = heartbeat.link_open;
}

void Link::OnPeersHeartbeat(const Heartbeat& heartbeat) {
  synced_ = heartbeat.synced;
  draining_ = heartbeat.draining;
  lost_ = heartbeat.lost;
  peer_floor_ = heartbeat.purge_floor;
  peer_reached_ = heartbeat.reached;
  peer_reach_ = heartbeat.reach;
}

Batch Link::NextBatch(const Backlog& backlog) {
  Batch batch;
  batch.first_seq = cursor_;
  left_out_.clear();
  std::size_t bytes = 0;
  const std::uint64_t end = std::min(backlog.last() + 1, cursor_ + kBatchEntries);
  while (cursor_ < end && bytes < kChunkBytes) {
    const EntryRef& entry = backlog.at(cursor_);
    if (fragments_ && IsLarge(*entry)) {
      large_.Add(cursor_);
      left_out_.push_back(cursor_);
    } else {
      bytes += entry->packed().size();
      batch.entries.push_back(entry);
    }
    ++cursor_;
  }
  batch.last_seq = in_flight_ = cursor_ - 1;
  return batch;
}

bool Link::RestartIfBehind(const Backlog& backlog) {
  if (!open() || in_flight_ != 0) return false;
  if (cursor_ >= backlog.first() && !large_.FallenOut(backlog)) return false;
  Restart(backlog);
  return true;
}

// Behind a large write that is on its way, much may have been acknowledged.
Link::Behind Link::behind(const Backlog& backlog) const {
  const std::uint64_t from = restart_pending_ ? held() : std::max(acked_, covered_);
  Behind behind{backlog.last() - from, backlog.BytesAfter(from)};
  for (auto it = missing().begin(); it != missing().end() && *it <= from; ++it) {
    ++behind.entries;
    if (*it >= backlog.first()) behind.bytes += backlog.at(*it)->memory_bytes();
  }
  return behind;
}

std::uint64_t Link::NumberOf(std::uint32_t place) const {
  std::uint64_t number = acked_ + 1 + place;
  for (const std::uint64_t left_out : left_out_) {
    if (left_out <= number) ++number;
  }
  return number;
}

bool Link::OnAck(std::uint64_t seq, SteadyMs now) {
  // Only the answer to the batch in flight counts: after a restart an older one may still arrive.
  if (in_flight_ == 0 || seq != in_flight_) return false;
  acked_ = seq;
  in_flight_ = 0;
  last_ack_at_ = now;
  return true;
}

void Link::BeginPass(std::uint64_t id, std::uint64_t hlc, const Backlog& backlog, SteadyMs now) {
  pass_.emplace(id, hlc, backlog.last(), peer_floor_, peer_reached_, fragments_);
  pass_heals_ = pass_checks_ = true;
  pass_wanted_ = false;
  pass_progress_at_ = pass_begun_at_ = now;
  HeartbeatNow();  // the peer is to see `hlc` before the pass is done: node_floor.cpp
}

void Link::EndPass(SteadyMs now, SteadyMs next_at) {
  covered_ = std::max(covered_, pass_->begun_seq());
  large_.Covered(covered_);
  contact_ = pass_->begun_hlc();
  reach_ = std::max(reach_, std::min(pass_->begun_hlc(), pass_->peer_reached()));
  contact_at_ = now;
  passed_ = pass_->begun_hlc();
  if (pass_heals_) restart_pending_ = false;
  if (pass_checks_) checked_at_ = pass_begun_at_;
  pass_.reset();
  pass_at_ = next_at;
}

}  // namespace podmirror::sync
