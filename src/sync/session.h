// A Session is an inbound stream: a peer's link to us, seen from the accepting side. It answers and
// keeps no state per request.
// Thread safety: none; belongs to the Node, under the driver's mutex.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <variant>

#include "base/env.h"
#include "sync/clock.h"
#include "sync/message.h"
#include "sync/types.h"

namespace podmirror::sync {

// What a peer may have asked without having been answered; our own daemons ask one thing at a time
// for each purpose (pass, copy).
inline constexpr std::size_t kMaxQuestions = 8;
// A session without a handshake for so long is closed; one that is silent after kSilenceMs.
inline constexpr std::int64_t kSessionHelloMs = 5000;
// A donor serves so many joiners at a time; one counts until it has not asked for this long.
inline constexpr std::size_t kMaxJoiners = 4;
inline constexpr std::int64_t kJoinerMs = 1000;

struct Session {
  bool accepted = false;
  Introduction peer;  // valid once accepted
  SteadyMs opened_at = 0;
  SteadyMs heard_at = 0;
  SteadyMs fetched_at = -kJoinerMs;  // last time it asked for a chunk of the copy
  std::uint64_t peer_floor = 0;
  bool stays = false;  // its last heartbeat said that it does not drain
  PeerClock clock;
  std::uint64_t next_seq = 0;   // of its next batch, if its run goes on; 0 before the first one
  std::uint64_t run_start = 0;  // as in its last heartbeat

  // What is to be sent, in this order.
  std::optional<HelloReply> hello_reply;
  std::optional<Ack> ack_due;
  bool heartbeat_due = false;
  std::deque<std::variant<SumsRequest, Offer, Fetch, FragmentRequest, PushReply, FragmentReply>>
      answers_due;
};

using SessionMap = std::map<ConnId, Session>;

}  // namespace podmirror::sync
