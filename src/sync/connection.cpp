#include "sync/connection.h"

namespace podmirror::sync {

void Connection::Dialled(ConnId conn, SteadyMs now) {
  conn_ = conn;
  phase_ = Phase::kDialling;
  phase_since_ = now;
  hello_sent_ = false;
}

void Connection::Opened(SteadyMs now) {
  phase_ = Phase::kHandshake;
  phase_since_ = now;
}

void Connection::Accepted(bool legacy, SteadyMs now) {
  phase_ = Phase::kOpen;
  legacy_ = was_legacy_ = legacy;
  duplicate_ = false;
  refusal_ = RefusalReason::kNone;
  error_.clear();
  failures_ = 0;
  denied_since_ = -1;
  heard_at_ = now;
}

void Connection::Refuse(RefusalReason reason, std::string detail) {
  refusal_ = reason;
  error_ = std::move(detail);
}

void Connection::Lost(Code code, std::string error, SteadyMs now, std::uint64_t jitter) {
  const bool was_open = open();
  // A pod that does not know our service may know the old one; a lost old one may have been
  // replaced by one that knows ours.
  legacy_ = code == Code::kUnimplemented && !was_open && !legacy_;
  if (!refused()) error_ = std::move(error);
  phase_ = Phase::kWaiting;
  conn_ = 0;
  lost_at_ = now;
  if (was_open || code == Code::kDeadline) {
    denied_since_ = -1;
  } else if (denied_since_ < 0) {
    denied_since_ = now;
  }
  if (legacy_) {
    retry_at_ = now;
    return;
  }
  const std::int64_t step = std::min(kMaxBackoffMs, kMinBackoffMs << std::min(failures_, 8));
  const std::int64_t wait = duplicate_ ? kDuplicateBackoffMs : refused() ? kRefusedBackoffMs : step;
  retry_at_ = now + wait / 2 + static_cast<std::int64_t>(jitter % static_cast<std::uint64_t>(wait));
  ++failures_;
}

bool Connection::TimedOut(SteadyMs now) const {
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

}  // namespace podmirror::sync
