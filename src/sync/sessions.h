// Sessions are the streams that peers opened to us. What a peer asks on one is answered when the
// stream has room for it; what is to be answered waits in a short queue.
// Thread safety: none; belongs to the Node.
// Invariant: a stream that broke the protocol is closed, and has no session any more.
#pragma once

#include <cstdint>
#include <variant>
#include <vector>

#include "absl/functional/function_ref.h"
#include "base/env.h"
#include "sync/answers.h"
#include "sync/message.h"
#include "sync/peers.h"
#include "sync/self.h"
#include "sync/session.h"

namespace podmirror::sync {

// What is to be sent next on a stream: a message, a question to be answered from the cache, or
// nothing.
using Outgoing = std::variant<std::monostate, Message, Question>;

// What became of a message's entries in the cache.
struct Merged {
  std::vector<std::uint32_t> dead{};  // places, as Cache::MergeAll tells them
  // Of a batch: one for each of its bases.
  std::vector<Cache::Told> told{};
};

class Sessions {
 public:
  Sessions(Self& self, Peers& peers) : self_(self), peers_(peers) {}

  ConnId Accept(Now now);
  // Null when there is none.
  Session* Find(ConnId conn);
  const SessionMap& all() const { return sessions_; }
  // The stream is gone. What the peer wrote meanwhile may be missing here until a pass with it.
  void End(ConnId conn);

  // A message other than Hello and Heartbeat, its entries merged. False: it broke the protocol.
  bool OnMessage(Session& session, const Message& message, const Merged& merged);
  // Gives the acknowledgement that is due a verdict on what was at this place of the batch.
  static void OnVerdict(Session& session, std::uint32_t place, const Verdict& verdict);
  // A fragment has been taken; `reply` tells how far. False: too much is unanswered.
  bool OnFragment(Session& session, const FragmentReply& reply);

  // beat: makes a heartbeat.
  Outgoing Next(Session& session, absl::FunctionRef<Heartbeat()> beat, Now now);
  // Those that have been silent for too long.
  std::vector<ConnId> Silent(Now now) const;

 private:
  void OnBatch(Session& session, const Batch& batch, const std::vector<std::uint32_t>& dead);
  // Whether as many joiners copy from us as may at a time, beside this one.
  bool Busy(const Session& session, Now now) const;

  Self& self_;
  Peers& peers_;
  SessionMap sessions_;
};

}  // namespace podmirror::sync
