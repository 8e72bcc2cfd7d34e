// LargeExchange is the part of a repair pass that large entries need, each in fragments: first the
// asker pulls those that the answerer listed, then it pushes those that the answerer wants.
//
//   asker                           answerer
//   FragmentRequest {id, offset} -> Fragment
//   Fragment                     -> FragmentReply
//
// Thread safety: none; belongs to its Pass.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <utility>
#include <variant>
#include <vector>

#include "cache/cache.h"
#include "sync/assembly.h"
#include "sync/message.h"
#include "sync/transfer.h"

namespace podmirror::sync {

class LargeExchange {
 public:
  // What the answerer listed; what it wants, as it is in the cache.
  void Pull(const std::vector<EntryId>& ids) {
    pulls_.insert(pulls_.end(), ids.begin(), ids.end());
  }
  void Push(const EntryId& id) { pushes_.push_back(id); }
  // Nothing is left to do.
  bool done() const { return pulls_.empty() && pushes_.empty(); }

  // May have something to send. write: the large write that is on its way over the same link; it is
  // not pushed meanwhile, or each of its fragments would travel twice.
  bool HasNext(const std::optional<EntryId>& write, SteadyMs now) const;
  using Outgoing = std::variant<std::monostate, FragmentRequest, Slice>;
  // The next of them on the stream `conn`; nothing while an answer is awaited or another stream
  // brings what is left. Leaves out what is not needed any more, which may be all: see done().
  // may_push: no other fragment that went out on the stream is unanswered.
  Outgoing Next(const Cache& cache, Assembly& assembly, ConnId conn,
                const std::optional<EntryId>& write, bool may_push, SteadyMs now);
  // A fragment that was pushed has not been answered.
  bool pushing() const { return push_.unanswered(); }
  // A large write has brought this to the answerer.
  void Written(const EntryId& id);

  // A fragment has come and has been put together with others, as `taken` tells, and merged if that
  // made it complete. False when it cannot be meant for the request.
  bool OnFragment(const Fragment& fragment, const Assembly::Taken& taken, SteadyMs now);
  Transfer::Step OnReply(const FragmentReply& reply, SteadyMs now);

  std::uint64_t received() const { return received_; }
  std::uint64_t sent() const { return sent_; }
  // Something was not there any more, nor anything newer: what became of it, this pass does not
  // tell.
  bool lacks() const { return lacks_; }

 private:
  // How soon to look again whether another stream has brought what is left.
  static constexpr std::int64_t kLookMs = 100;

  Outgoing NextPull(const Cache& cache, Assembly& assembly, ConnId conn, SteadyMs now);
  Outgoing NextPush(const Cache& cache);

  std::deque<EntryId> pulls_;  // the first one is asked for while asked_
  bool asked_ = false;
  SteadyMs pull_at_ = 0;
  std::deque<EntryId> pushes_;  // the first one is what push_ brings
  Transfer push_;
  std::uint64_t received_ = 0;
  std::uint64_t sent_ = 0;
  bool lacks_ = false;
};

}  // namespace podmirror::sync
