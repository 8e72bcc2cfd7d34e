// A Connection is the stream that we dial to one peer: when to dial, whether the handshake
// succeeded, and why there is no stream. It never does I/O.
// Thread safety: none; belongs to its Link.
// Invariant: open() implies that the handshake succeeded on the stream conn().
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <utility>

#include "base/env.h"
#include "base/status.h"
#include "sync/message.h"
#include "sync/types.h"

namespace podmirror::sync {

inline constexpr std::int64_t kHandshakeMs = 2000;
// A peer whose address has answered every attempt in vain for so long is gone: Connection::Gone.
inline constexpr std::int64_t kGoneMs = 3000;
inline constexpr std::int64_t kMinBackoffMs = 100;
inline constexpr std::int64_t kMaxBackoffMs = 2000;
inline constexpr std::int64_t kRefusedBackoffMs = 5000;
inline constexpr std::int64_t kDuplicateBackoffMs = 30'000;

class Connection {
 public:
  enum class Phase { kWaiting, kDialling, kHandshake, kOpen };

  Phase phase() const { return phase_; }
  bool open() const { return phase_ == Phase::kOpen; }
  ConnId conn() const { return conn_; }  // 0 while kWaiting
  // It speaks hellorpc.Sync, or is to be tried with that next.
  bool legacy() const { return legacy_; }
  // It did so when it was last open.
  bool was_legacy() const { return was_legacy_; }
  // Met through another address, this is our own process or a peer that another link serves: not a
  // peer of its own.
  bool duplicate() const { return duplicate_; }
  bool refused() const { return refusal_ != RefusalReason::kNone; }
  RefusalReason refusal() const { return refusal_; }
  // Why there is no stream, or what a legacy peer could not do; empty when all is well.
  const std::string& error() const { return error_; }
  // A legacy peer could not do what it was asked, and still lives; empty: it could.
  void set_complaint(std::string complaint) { error_ = std::move(complaint); }
  // A writer may wait for this peer: there is a stream, or the first attempt is still under way.
  bool reachable() const { return open() || (failures_ == 0 && !refused()); }
  // Attempts in vain since it was last open.
  int failures() const { return failures_; }
  // All attempts since `since` were answered, and in vain, the last one kGoneMs after the first or
  // later: somebody is there who knows that our peer is not. Silence never tells that, nor does one
  // answer, however long ago.
  bool Gone(SteadyMs since) const {
    return !open() && denied_since_ >= 0 && lost_at_ - std::max(denied_since_, since) >= kGoneMs;
  }

  bool DialDue(SteadyMs now) const { return phase_ == Phase::kWaiting && now >= retry_at_; }
  void Dialled(ConnId conn, SteadyMs now);
  void Opened(SteadyMs now);
  bool HelloDue() const { return phase_ == Phase::kHandshake && !hello_sent_; }
  void HelloSent() { hello_sent_ = true; }
  void Accepted(bool legacy, SteadyMs now);
  void Refuse(RefusalReason reason, std::string detail);
  void MarkDuplicate() { duplicate_ = true; }
  // The peer is alive, or we have other credentials: no reason to wait, unless one of the two
  // refuses the other for something else.
  void RetryNow() {
    const bool again = !refused() || refusal_ == RefusalReason::kUntrusted;
    if (again && !duplicate_) retry_at_ = 0;
  }
  // The stream is gone, or could not be opened. jitter: any random number.
  void Lost(Code code, std::string error, SteadyMs now, std::uint64_t jitter);
  void Heard(SteadyMs now) { heard_at_ = now; }
  // Silent or stuck in the handshake for too long.
  bool TimedOut(SteadyMs now) const;

 private:
  Phase phase_ = Phase::kWaiting;
  ConnId conn_ = 0;
  bool legacy_ = false;
  bool was_legacy_ = false;
  bool duplicate_ = false;
  RefusalReason refusal_ = RefusalReason::kNone;
  std::string error_;
  int failures_ = 0;
  SteadyMs retry_at_ = 0;
  SteadyMs lost_at_ = -1;       // or tried in vain; -1 = never
  SteadyMs denied_since_ = -1;  // all attempts since then were answered, in vain; -1 = not so
  SteadyMs phase_since_ = 0;
  SteadyMs heard_at_ = 0;
  bool hello_sent_ = false;
};

}  // namespace podmirror::sync
